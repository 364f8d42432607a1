// Languages an answer can be held to: a context-free grammar over the bytes of UTF-8 text. It comes from a text form
// (docs/structured-output.md has the syntax), or from a JSON Schema; text/grammar_matcher.h recognises its texts byte
// by byte, text/token_masks.h says which tokens may come next.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nosa::text {

// Levels of rules inside rules that a text may have open at once: a text that needs more is not in the language. Enough
// for JSON nested 250 deep; readers of JSON commonly stop between 100 and 1,000.
inline constexpr int kMaxGrammarDepth = 256;

// A compiled grammar: automata, one a rule, that call each other. Immutable, thread-safe.
class Grammar {
 public:
  struct Node {
    enum class Kind : uint8_t {
      kBytes,   // a byte of one of byte_edges [first, last) leads on
      kSplit,   // goes on, without a byte, at each of splits [first, last)
      kCall,    // a text of the automaton that begins at `first`, then on at `last`
      kReturn,  // the end of a rule
    };
    Kind kind = Kind::kReturn;
    int32_t first = 0, last = 0;
  };
  struct ByteEdge {
    uint8_t first = 0, last = 0;  // both included
    int32_t next = 0;
  };

  // The text form. kInvalidArgument names line and column, a rule that is missing, or that calls itself before any
  // byte was read (left recursion); kResourceExhausted: more automaton nodes than a machine should spend on it.
  static Result<std::shared_ptr<const Grammar>> FromText(std::string_view text, std::string_view what);
  // JSON Schema, draft 2020-12; documents are written with properties in the schema's order and bounded white space.
  // kInvalidArgument names the place in the schema as a JSON pointer: a keyword that is not supported and would
  // constrain the answer, or one that is wrong. `what` names the schema in messages.
  static Result<std::shared_ptr<const Grammar>> FromJsonSchema(std::string_view json, std::string_view what);
  // Every JSON object, with the same white space.
  static std::shared_ptr<const Grammar> AnyJsonObject();

  const Node& node(int32_t i) const { return nodes_[static_cast<size_t>(i)]; }
  const ByteEdge* byte_edges() const { return byte_edges_.data(); }
  const int32_t* splits() const { return splits_.data(); }
  int32_t nodes() const { return static_cast<int32_t>(nodes_.size()); }
  int32_t start() const { return start_; }
  // Calls that must be open at once to get from a node to the end of its rule, at least; kMaxGrammarDepth + 1 when
  // more, or when it cannot be got to.
  int depth(int32_t node) const { return depths_[static_cast<size_t>(node)]; }
  // The call in tail position: nothing of the caller is left to do.
  bool tail(const Node& call) const { return node(call.last).kind == Node::Kind::kReturn; }

 private:
  friend class GrammarCompiler;
  Grammar() = default;

  std::vector<Node> nodes_;
  std::vector<ByteEdge> byte_edges_;
  std::vector<int32_t> splits_;
  std::vector<int16_t> depths_;
  int32_t start_ = 0;
};

}  // namespace nosa::text
