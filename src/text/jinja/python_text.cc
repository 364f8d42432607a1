#include "text/jinja/python_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text::jinja {
namespace {

void AppendEscaped(char32_t c, std::string* out) {
  if (c < 0x100) {
    *out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  } else if (c < 0x10000) {
    *out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  } else {
    *out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
}

std::string ReprString(const std::string& text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (const std::string_view c : Characters(text)) {
    const char32_t code = DecodeUtf8(c).code_point;
    if (c[0] == quote || c[0] == '\\') {
      (out += '\\') += c[0];
    } else if (code == '\n' || code == '\r' || code == '\t') {
      (out += '\\') += code == '\n' ? 'n' : code == '\r' ? 'r' : 't';
    } else if (code != ' ' && !IsPrintable(code)) {
      AppendEscaped(code, &out);
    } else {
      out += c;
    }
  }
  return out += quote;
}

// Writes nested values, charging as it goes: a value may hold another many times over.
class ReprWriter {
 public:
  explicit ReprWriter(Budget& budget) : budget_(budget) {}

  void Write(const Value& value) {
    switch (value.kind()) {
      case Kind::kUndefined: return Put("Undefined");
      case Kind::kNone: return Put("None");
      case Kind::kBool: return Put(value.AsInt() != 0 ? "True" : "False");
      case Kind::kInt: return Put(std::to_string(value.AsInt()));
      case Kind::kFloat: return Put(FloatText(value.AsDouble()));
      case Kind::kString: return Put(ReprString(value.AsString()));
      case Kind::kObject: return Put(value.AsObject()->Shown());
      case Kind::kDict: return WriteDict(value.AsDict());
      case Kind::kSequence: return WriteSequence(value.AsSequence());
    }
  }
  std::string Take() { return std::move(out_); }

 private:
  void Put(std::string_view text) {
    budget_.Step();
    budget_.Bytes(text.size());
    out_ += text;
  }
  void WriteItems(const Values& items) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) Put(", ");
      Write(items[i]);
    }
  }
  void WriteDict(const Dict& dict) {
    Put("{");
    for (size_t i = 0; i < dict.items.size(); ++i) {
      if (i > 0) Put(", ");
      Write(dict.items[i].first);
      Put(": ");
      Write(dict.items[i].second);
    }
    Put("}");
  }
  void WriteSequence(const Sequence& sequence) {
    if (sequence.type == SequenceType::kRange) return Put(sequence.shown);
    if (sequence.type == SequenceType::kGenerator) return Put("<generator object>");
    const bool tuple = sequence.type == SequenceType::kTuple;
    const bool view = sequence.type != SequenceType::kList && !tuple;
    if (view) Put(TypeName(Value(std::shared_ptr<const Sequence>(std::shared_ptr<void>(), &sequence))));
    Put(view ? "([" : tuple ? "(" : "[");
    WriteItems(sequence.items);
    if (tuple && sequence.items.size() == 1) Put(",");
    Put(view ? "])" : tuple ? ")" : "]");
  }

  Budget& budget_;
  std::string out_;
};

class JsonWriter {
 public:
  JsonWriter(int indent, std::string_view item_separator, std::string_view key_separator, bool ensure_ascii,
             bool sort_keys, Budget& budget)
      : indent_(indent),
        item_separator_(item_separator),
        key_separator_(key_separator),
        ensure_ascii_(ensure_ascii),
        sort_keys_(sort_keys),
        budget_(budget) {}

  void Write(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone: return Put("null");
      case Kind::kBool: return Put(value.AsInt() != 0 ? "true" : "false");
      case Kind::kInt: return Put(std::to_string(value.AsInt()));
      case Kind::kFloat: return Put(Number(value.AsDouble()));
      case Kind::kString: return PutString(value.AsString());
      case Kind::kDict: return WriteDict(value.AsDict());
      case Kind::kSequence:
        if (value.is_sequence(SequenceType::kList) || value.is_sequence(SequenceType::kTuple)) {
          return WriteList(value.AsSequence().items);
        }
        break;
      default: break;
    }
    Fail("tojson cannot write a {}", TypeName(value));
  }
  std::string Take() { return std::move(out_); }

 private:
  static std::string Number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return FloatText(value);
  }
  void Put(std::string_view text) {
    budget_.Step();
    budget_.Bytes(text.size());
    out_ += text;
  }
  void NewLine() {
    if (indent_ >= 0) Put("\n" + std::string(static_cast<size_t>(level_) * static_cast<size_t>(indent_), ' '));
  }
  void Open(char bracket, bool empty) {
    Put(std::string_view(&bracket, 1));
    ++level_;
    if (!empty) NewLine();
  }
  void Close(char bracket, bool empty) {
    --level_;
    if (!empty) NewLine();
    Put(std::string_view(&bracket, 1));
  }
  void Between(bool first) {
    if (first) return;
    Put(item_separator_);
    NewLine();
  }
  void WriteList(const Values& items) {
    Open('[', items.empty());
    for (size_t i = 0; i < items.size(); ++i) {
      Between(i == 0);
      Write(items[i]);
    }
    Close(']', items.empty());
  }
  void WriteDict(const Dict& dict) {
    auto items = dict.items;
    if (sort_keys_) {
      std::stable_sort(items.begin(), items.end(),
                       [&](const auto& a, const auto& b) { return Less(a.first, b.first, budget_); });
    }
    Open('{', items.empty());
    for (size_t i = 0; i < items.size(); ++i) {
      Between(i == 0);
      WriteKey(items[i].first);
      Put(key_separator_);
      Write(items[i].second);
    }
    Close('}', items.empty());
  }
  void WriteKey(const Value& key) {
    if (key.is_string()) return PutString(key.AsString());
    if (!key.is_number() && !key.is_none()) Fail("tojson cannot write a {} as a key", TypeName(key));
    Put("\"");
    Write(key);
    Put("\"");
  }
  void PutString(const std::string& text) {
    std::string quoted = "\"";
    for (const std::string_view c : Characters(text)) PutCharacter(c, &quoted);
    Put(quoted += '"');
  }
  void PutCharacter(std::string_view c, std::string* out) const {
    static constexpr std::string_view kPlain = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    const char32_t code = DecodeUtf8(c).code_point;
    if (const size_t place = kPlain.find(c[0]); place != kPlain.npos) {
      (*out += '\\') += kLetters[place];
    } else if (code < 0x20 || (ensure_ascii_ && code > 0x7E)) {
      PutUnits(code, out);
    } else {
      *out += c;
    }
  }
  static void PutUnits(char32_t code, std::string* out) {
    if (code >= 0x10000) {
      const char32_t rest = code - 0x10000;
      PutUnits(0xD800 + (rest >> 10), out);
      code = 0xDC00 + (rest & 0x3FF);
    }
    *out += fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  }

  const int indent_;
  const std::string_view item_separator_, key_separator_;
  const bool ensure_ascii_, sort_keys_;
  Budget& budget_;
  int level_ = 0;
  std::string out_;
};

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const char* end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const std::string sign = text[0] == '-' ? "-" : "";
  text.remove_prefix(sign.size());
  const size_t e = text.find('e');
  int exponent = std::stoi(std::string(text.substr(e + 1)));
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    if (count > 1) digits.insert(1, ".");
    return fmt::format("{}{}e{}{:02}", sign, digits, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (exponent + 1 >= count) return sign + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  return sign + digits.insert(static_cast<size_t>(exponent) + 1, ".");
}

std::string Repr(const Value& value, Budget& budget) {
  ReprWriter writer(budget);
  writer.Write(value);
  return writer.Take();
}

std::string Str(const Value& value, Budget& budget) {
  if (value.is_undefined()) return "";
  if (!value.is_string()) return Repr(value, budget);
  budget.Bytes(value.AsString().size());
  return value.AsString();
}

std::string ToJson(const Value& value, int indent, std::string_view item_separator, std::string_view key_separator,
                   bool ensure_ascii, bool sort_keys, Budget& budget) {
  JsonWriter writer(indent, item_separator, key_separator, ensure_ascii, sort_keys, budget);
  writer.Write(value);
  return writer.Take();
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> characters;
  characters.reserve(text.size());
  while (!text.empty()) {
    const size_t size = DecodeUtf8(text).bytes;
    characters.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return characters;
}

size_t CountCharacters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

}  // namespace nosa::text::jinja
