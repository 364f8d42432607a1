// The calls of functions in a model's answer, found while it is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/tool_calls.h"

namespace nosa::server {

struct ToolCall {
  std::string id;  // "call_" and 24 letters and digits
  std::string name;
  std::string arguments;  // JSON, if the model wrote it well and to its end
};
// One that another call has not had.
std::string NewCallId();

// What became certain of an answer: more of its content; that a call of a function begins; more of that call's
// arguments.
struct AnswerPiece {
  enum class Kind : uint8_t { kContent, kCall, kArguments };
  Kind kind = Kind::kContent;
  std::string text;  // content; the function's name; JSON, of the call that began last
};

// Reads an answer as it comes and tells its calls piece by piece. How the answer is cut into Add's does not change what
// the pieces make together.
//
// A call is {"name": a function that was offered, "arguments" or "parameters": ...} between <tool_call> and
// </tool_call> (the end tag may be missing), or at the answer's very beginning without tags. It counts from where name
// and the first bracket of the arguments are known: whatever comes then, also the answer's end, leaves it one, with
// the arguments as far as they go, as the model wrote them. Arguments that are text hold JSON, which is told as it is
// read out of the text, whole; a call without any has {}. An array of calls, [{...}, ...], is told whole at its end,
// when all are calls.
//
// Content is what stands before the first call, without white space at its end; all of the answer if there is none.
// Text between and after calls is dropped.
class AnswerReader {
 public:
  // `request` outlives the reader.
  explicit AnswerReader(const ToolRequest& request) : request_(request) {}

  // Appends to *pieces; pieces of one kind in a row are one. O(|text|), the whole answer O(its length).
  void Add(std::string_view text, std::vector<AnswerPiece>* pieces);
  // The answer is over: what was held back and is no call is content.
  void Finish(std::vector<AnswerPiece>* pieces);

 private:
  enum class At : uint8_t {
    kStart,   // white space before anything
    kText,    // outside calls
    kOpen,    // after <tool_call>, before a bracket
    kArray,   // in an array, which is judged at its end
    kKey,     // before a member's name, or the end of an object without members
    kColon,   // after it
    kValue,   // before a value
    kString,  // in a text at the top of the call: a member's name or value
    kScalar,  // in a number or a word there
    kNested,  // in a value with brackets
    kComma,   // after a value
  };
  enum class Member : uint8_t { kName, kArguments, kOther };

  // One byte; false: it is not a part of what was read, which has ended before it.
  bool Take(char c);
  void Text(char c);
  bool Element(char c);
  bool Nested(char c);
  bool BeginValue(char c);
  // After a member's name or a value at the top of the call, in token_, is complete.
  bool EndKey();
  bool EndValue();
  bool EndObject();
  bool EndArray();
  // The brackets or the text of this candidate end here: it is no call, or its call is over.
  void EndCandidate();
  void BeginCall(std::string name);
  void AddArguments(std::string_view text);
  void Tell(AnswerPiece::Kind kind, std::string_view text);

  const ToolRequest& request_;
  std::vector<AnswerPiece>* pieces_ = nullptr;  // during Add and Finish
  At at_ = At::kStart;
  size_t calls_ = 0;  // told, or dropped as one too many
  std::string held_;  // read, and neither told nor dropped: white space, what may be a tag, a candidate
  size_t tag_ = 0;    // bytes of <tool_call> that the text ends with
  // Of the candidate.
  std::string token_;    // a text or a scalar at its top, as written
  bool is_key_ = false;  // that text is a member's name
  bool escaped_ = false, quoted_ = false;
  int depth_ = 0;  // of kNested and kArray
  Member member_ = Member::kOther;
  std::string name_;    // "": not known yet
  bool begun_ = false;  // told
  bool has_arguments_ = false;
  std::string arguments_;  // read before the name was known
};

struct ParsedAnswer {
  std::string content;
  std::vector<ToolCall> calls;
};
// What AnswerReader makes of a whole answer.
ParsedAnswer ParseAnswer(std::string_view answer, const ToolRequest& request);

}  // namespace nosa::server
