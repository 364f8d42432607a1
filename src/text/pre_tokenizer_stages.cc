#include "text/pre_tokenizer_stages.h"

#include "text/json_fields.h"
#include "text/regex.h"
#include "text/split_behavior.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

using StagePtr = std::unique_ptr<const PreTokenizerStage>;

// GPT-2's words: contractions, then letters, numbers or anything else with one space before them, then
// whitespace, of which the last character is left to the next word.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The matches of `regex` in `text` and the stretches between them, in order.
std::vector<Stretch> Stretches(const Regex& regex, std::string_view text) {
  std::vector<Stretch> out;
  size_t done = 0;
  regex.ForEachMatch(text, [&](size_t begin, size_t end) {
    if (done != begin) out.push_back({done, begin, false});
    out.push_back({begin, end, true});
    done = end;
  });
  if (done != text.size()) out.push_back({done, text.size(), false});
  return out;
}

class ByteLevelStage final : public PreTokenizerStage {
 public:
  static Result<StagePtr> FromJson(const io::Json& config) {
    NOSA_ASSIGN_OR_RETURN(const bool prefix_space, io::GetBool(config, "add_prefix_space", true));
    NOSA_ASSIGN_OR_RETURN(const bool use_regex, io::GetBool(config, "use_regex", true));
    auto stage = std::make_unique<ByteLevelStage>();
    stage->prefix_space_ = prefix_space;
    if (use_regex) {
      NOSA_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kGpt2Pattern));
      stage->regex_ = std::move(regex);
    }
    return StagePtr(std::move(stage));
  }

  void Split(std::string_view text, TextArena* arena, std::vector<std::string_view>* out) const override {
    if (prefix_space_ && text[0] != ' ') {
      std::string spaced = " ";
      text = arena->emplace_back(std::move(spaced.append(text)));
    }
    if (!regex_) {
      out->push_back(text);
      return;
    }
    // Every character belongs to a match, so there is nothing between them but in a search given up.
    size_t done = 0;
    regex_->ForEachMatch(text, [&](size_t begin, size_t end) {
      if (done < begin) out->push_back(text.substr(done, begin - done));
      out->push_back(text.substr(begin, end - begin));
      done = end;
    });
    if (done < text.size()) out->push_back(text.substr(done));
  }

 private:
  bool prefix_space_ = false;
  std::optional<Regex> regex_;
};

class SplitStage final : public PreTokenizerStage {
 public:
  SplitStage(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  static Result<StagePtr> FromJson(const io::Json& config) {
    const io::Json* pattern = Find(config, "pattern");
    const io::Json* expression = pattern ? Find(*pattern, "Regex") : nullptr;
    const io::Json* literal = pattern ? Find(*pattern, "String") : nullptr;
    const io::Json* chosen = expression ? expression : literal;
    if (!chosen || !chosen->is_string())
      return InvalidArgument("pattern: expected {{\"Regex\": text}} or {{\"String\": text}}");
    const auto& text = chosen->get_ref<const std::string&>();
    auto regex = expression ? Regex::Compile(text) : Regex::Literal(text);
    if (!regex.ok()) return regex.status().WithContext("pattern");
    NOSA_ASSIGN_OR_RETURN(const std::string name, io::GetString(config, "behavior", ""));
    NOSA_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseSplitBehavior(name));
    NOSA_ASSIGN_OR_RETURN(const bool invert, io::GetBool(config, "invert", false));
    return StagePtr(std::make_unique<SplitStage>(std::move(regex).value(), behavior, invert));
  }

  void Split(std::string_view text, TextArena*, std::vector<std::string_view>* out) const override {
    std::vector<Stretch> stretches = Stretches(regex_, text);
    if (invert_)
      for (Stretch& s : stretches) s.match = !s.match;
    AppendPieces(text, stretches, behavior_, out);
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

class DigitsStage final : public PreTokenizerStage {
 public:
  explicit DigitsStage(bool individual)
      : behavior_(individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous) {}

  void Split(std::string_view text, TextArena*, std::vector<std::string_view>* out) const override {
    std::vector<Stretch> stretches;
    size_t done = 0;
    for (size_t i = 0; i < text.size();) {
      const Utf8Step step = DecodeUtf8(text.substr(i));
      const size_t end = i + step.bytes;
      if (IsNumeric(step.code_point)) {
        if (done < i) stretches.push_back({done, i, false});
        stretches.push_back({i, end, true});
        done = end;
      }
      i = end;
    }
    if (done < text.size()) stretches.push_back({done, text.size(), false});
    AppendPieces(text, stretches, behavior_, out);
  }

 private:
  SplitBehavior behavior_;
};

Result<StagePtr> Make(std::string_view type, const io::Json& config) {
  if (type == "ByteLevel") return ByteLevelStage::FromJson(config);
  if (type == "Split") return SplitStage::FromJson(config);
  if (type == "Digits") {
    NOSA_ASSIGN_OR_RETURN(const bool individual, io::GetBool(config, "individual_digits", false));
    return StagePtr(std::make_unique<DigitsStage>(individual));
  }
  return Unimplemented("the type is \"{}\", expected ByteLevel, Split, Digits or Sequence", type);
}

}  // namespace

Result<StagePtr> MakePreTokenizerStage(std::string_view type, const io::Json& config, std::string_view field) {
  auto stage = Make(type, config);
  if (!stage.ok()) return stage.status().WithContext(field);
  return stage;
}

}  // namespace nosa::text
