#include "server/answer_calls.h"

#include <algorithm>
#include <utility>

#include "server/fields.h"
#include "server/random_id.h"

namespace nosa::server {
namespace {

using io::OrderedJson;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Of numbers, true, false and null.
bool IsScalar(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' || c == 'E';
}

// "{}" for a call without arguments.
std::string ArgumentsOf(const OrderedJson& call) {
  const OrderedJson* arguments = Find(call, "arguments");
  if (arguments == nullptr) arguments = Find(call, "parameters");
  if (arguments == nullptr) return "{}";
  return arguments->is_string() ? arguments->get<std::string>() : io::DumpJson(*arguments);
}

}  // namespace

std::string NewCallId() { return RandomId("call_"); }

void AnswerReader::Tell(AnswerPiece::Kind kind, std::string_view text) {
  // Of one call too many nothing is told.
  if (kind != AnswerPiece::Kind::kContent && calls_ > 1 && !request_.parallel) return;
  if (text.empty()) return;
  if (pieces_->empty() || pieces_->back().kind != kind || kind == AnswerPiece::Kind::kCall)
    pieces_->push_back({kind, {}});
  pieces_->back().text += text;
}

void AnswerReader::BeginCall(std::string name) {
  begun_ = true;
  ++calls_;
  held_.clear();
  Tell(AnswerPiece::Kind::kCall, name);
}

void AnswerReader::AddArguments(std::string_view text) {
  has_arguments_ = true;
  if (begun_) return Tell(AnswerPiece::Kind::kArguments, text);
  arguments_ += text;
}

void AnswerReader::EndCandidate() {
  at_ = At::kText;
  // White space at its end may stand before a call.
  size_t told = held_.size();
  while (told > 0 && IsSpace(held_[told - 1])) --told;
  if (calls_ == 0) Tell(AnswerPiece::Kind::kContent, std::string_view(held_).substr(0, told));
  held_.erase(0, calls_ == 0 ? told : held_.size());
}

void AnswerReader::Text(char c) {
  // The tag's first byte is nowhere else in it, so that a beginning that breaks off can only begin again with this one.
  const bool goes_on = c == kCallBegin[tag_];
  const bool breaks_off = tag_ > 0 && !goes_on;
  tag_ = goes_on ? tag_ + 1 : c == kCallBegin[0] ? 1 : 0;
  const auto flush = [&] {
    if (calls_ == 0) Tell(AnswerPiece::Kind::kContent, held_);
    held_.clear();
  };
  if (breaks_off) flush();
  held_ += c;
  // White space goes with the call that may follow.
  if (tag_ == 0 && !IsSpace(c)) flush();
  if (tag_ == kCallBegin.size()) {
    tag_ = 0;
    at_ = At::kOpen;
  }
}

bool AnswerReader::Element(char c) {
  if (IsSpace(c)) return true;
  if (c != '{' && c != '[') return false;
  at_ = c == '{' ? At::kKey : At::kArray;
  begun_ = has_arguments_ = escaped_ = quoted_ = false;
  name_.clear();
  arguments_.clear();
  token_ = c;
  depth_ = 1;
  return true;
}

// Within brackets, up to the one that ends them. Where no text is, only bytes that JSON has there: what else comes is
// not the model's JSON any more.
bool AnswerReader::Nested(char c) {
  if (quoted_) {
    quoted_ = escaped_ || c != '"';
    escaped_ = !escaped_ && c == '\\';
    return true;
  }
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') --depth_;
  quoted_ = c == '"';
  const bool known = quoted_ || IsSpace(c) || IsScalar(c) || c == ',' || c == ':';
  return known || c == '{' || c == '[' || c == '}' || c == ']';
}

bool AnswerReader::BeginValue(char c) {
  token_ = c;
  is_key_ = quoted_ = escaped_ = false;
  if (c == '"') {
    at_ = At::kString;
    return true;
  }
  if (c == '{' || c == '[') {
    if (member_ == Member::kName) return false;
    at_ = At::kNested;
    depth_ = 1;
    if (member_ != Member::kArguments) return true;
    if (!name_.empty()) BeginCall(name_);
    AddArguments(token_);
    return true;
  }
  at_ = At::kScalar;
  return IsScalar(c);
}

bool AnswerReader::EndKey() {
  const auto key = io::ParseOrderedJson(token_, "call");
  if (!key.ok()) return false;
  // Of a member that comes twice the first counts: it may have been told.
  member_ = Member::kOther;
  if (*key == "name" && name_.empty()) member_ = Member::kName;
  if ((*key == "arguments" || *key == "parameters") && !has_arguments_) member_ = Member::kArguments;
  at_ = At::kColon;
  return true;
}

bool AnswerReader::EndValue() {
  const auto value = io::ParseOrderedJson(token_, "call");
  if (!value.ok()) return false;
  at_ = At::kComma;
  if (value->is_null()) return true;  // as if the member were absent
  if (member_ == Member::kArguments) {
    if (!name_.empty()) BeginCall(name_);
    AddArguments(value->is_string() ? value->get_ref<const std::string&>() : token_);
  }
  if (member_ != Member::kName) return true;
  if (!value->is_string() || !Offers(request_, value->get_ref<const std::string&>())) return false;
  name_ = value->get<std::string>();
  if (has_arguments_) {
    BeginCall(name_);
    AddArguments(arguments_);
  }
  return true;
}

bool AnswerReader::EndObject() {
  if (name_.empty()) return false;
  if (!begun_) BeginCall(name_);
  if (!has_arguments_) AddArguments("{}");
  at_ = At::kText;
  return true;
}

bool AnswerReader::EndArray() {
  const auto array = io::ParseOrderedJson(token_, "calls");
  if (!array.ok() || !array->is_array() || array->empty()) return false;
  const auto is_call = [&](const OrderedJson& json) {
    if (!json.is_object()) return false;
    const OrderedJson* name = Find(json, "name");
    return name != nullptr && name->is_string() && Offers(request_, name->get_ref<const std::string&>());
  };
  if (!std::all_of(array->begin(), array->end(), is_call)) return false;
  for (const OrderedJson& call : *array) {
    BeginCall(call["name"].get<std::string>());
    AddArguments(ArgumentsOf(call));
  }
  at_ = At::kText;
  return true;
}

bool AnswerReader::Take(char c) {
  switch (at_) {
    case At::kStart:
    case At::kOpen: return Element(c);
    case At::kText: return Text(c), true;
    case At::kArray:
      token_ += c;
      if (!Nested(c)) return false;
      return depth_ > 0 || EndArray();
    case At::kKey:
      if (c == '}') return EndObject();
      token_ = c;
      is_key_ = true;
      if (c == '"') at_ = At::kString;
      return c == '"' || IsSpace(c);
    case At::kColon:
      if (c == ':') at_ = At::kValue;
      return c == ':' || IsSpace(c);
    case At::kValue: return IsSpace(c) || BeginValue(c);
    case At::kString: {
      token_ += c;
      const bool ends = c == '"' && !escaped_;
      escaped_ = !escaped_ && c == '\\';
      return !ends || (is_key_ ? EndKey() : EndValue());
    }
    case At::kScalar:
      if (IsScalar(c)) return token_ += c, true;
      return EndValue() && Take(c);
    case At::kNested: {
      if (!Nested(c)) return false;
      if (member_ == Member::kArguments) AddArguments({&c, 1});
      if (depth_ == 0) at_ = At::kComma;
      return true;
    }
    case At::kComma:
      if (c == '}') return EndObject();
      if (c == ',') at_ = At::kKey;
      return c == ',' || IsSpace(c);
  }
  return false;
}

void AnswerReader::Add(std::string_view text, std::vector<AnswerPiece>* pieces) {
  pieces_ = pieces;
  for (const char c : text) {
    const bool candidate = at_ != At::kText;
    if (Take(c)) {
      // Until it counts it may turn out to be none.
      if (candidate && at_ != At::kText && !begun_) held_ += c;
      continue;
    }
    EndCandidate();
    Text(c);
  }
  pieces_ = nullptr;
}

void AnswerReader::Finish(std::vector<AnswerPiece>* pieces) {
  pieces_ = pieces;
  if (calls_ == 0) Tell(AnswerPiece::Kind::kContent, held_);
  pieces_ = nullptr;
}

ParsedAnswer ParseAnswer(std::string_view answer, const ToolRequest& request) {
  std::vector<AnswerPiece> pieces;
  AnswerReader reader(request);
  reader.Add(answer, &pieces);
  reader.Finish(&pieces);
  ParsedAnswer parsed;
  for (AnswerPiece& piece : pieces) {
    switch (piece.kind) {
      case AnswerPiece::Kind::kContent: parsed.content += piece.text; break;
      case AnswerPiece::Kind::kCall: parsed.calls.push_back({NewCallId(), std::move(piece.text), ""}); break;
      case AnswerPiece::Kind::kArguments: parsed.calls.back().arguments += piece.text; break;
    }
  }
  return parsed;
}

}  // namespace nosa::server
