"""What the tasks beside this file read: documents of this repository, in pieces of some 1,000 characters."""
import os

import datasets

DOCUMENTS = ("docs/nosa.md", "docs/structured-output.md", "CONTRIBUTING.md")
PIECE = 1000


def pieces():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    for name in DOCUMENTS:
        with open(os.path.join(root, name), encoding="utf-8") as file:
            text = file.read()
        # Cut at a line, and the last piece may be short.
        while text:
            cut = text.rfind("\n", 0, PIECE) + 1 or len(text)
            if len(text) <= PIECE:
                cut = len(text)
            yield text[:cut]
            text = text[cut:]


def load(**_):
    """One document a piece: its first line, and the rest, to which the harness counts white space between them."""
    rows = []
    for piece in pieces():
        first = piece.partition("\n")[0].rstrip()
        rows.append({"first": first, "rest": piece[len(first):], "text": piece})
    return {"test": datasets.Dataset.from_list([row for row in rows if row["rest"].strip() and row["first"].strip()])}
