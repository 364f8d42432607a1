"""The texts that quality is measured on, from files that no model here has learnt from."""
import pathlib

TEXTS = 3
TEXT_BYTES = 400_000  # enough for the greatest length that is measured
KINDS = (".py", ".md", ".rst", ".txt")


def held_out_texts(sources):
    """TEXTS texts of TEXT_BYTES: the sources' files one after the other, each text from another place on. A directory
    stands for all files of KINDS in it."""
    files = []
    for source in map(pathlib.Path, sources):
        files += [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in KINDS)
    texts = [file.read_text(encoding="utf-8", errors="ignore") for file in files]
    for i in range(TEXTS):
        first = len(texts) * i // TEXTS
        yield "\n".join(texts[first:] + texts[:first])[:TEXT_BYTES]
