#include "text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>

#include "text/json_fields.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

using icu::Normalizer2;

// The reference's tables are those of Unicode 9; characters of later versions pass through it and stop whatever
// is reordered or composed, as unassigned ones do. Ids would differ if ours were newer.
const icu::UnicodeSet* KnownCharacters(UErrorCode& error) {
  static UErrorCode made = U_ZERO_ERROR;
  static const icu::UnicodeSet* const set = [] {
    auto* s = new icu::UnicodeSet(icu::UnicodeString::fromUTF8("[:age=9.0:]"), made);
    s->freeze();
    return s;
  }();
  if (U_FAILURE(made)) error = made;
  return set;
}

template <const Normalizer2* (*Get)(UErrorCode&)>
const Normalizer2* Filtered(UErrorCode& error) {
  const Normalizer2* whole = Get(error);
  const icu::UnicodeSet* known = KnownCharacters(error);
  if (U_FAILURE(error)) return nullptr;
  static const icu::FilteredNormalizer2 filtered(*whole, *known);
  return &filtered;
}

struct Form {
  std::string_view name;
  NormalForm form;
  const Normalizer2* (*instance)(UErrorCode&);
};

// In the order of NormalForm.
constexpr std::array<Form, 4> kForms = {{{"NFC", NormalForm::kNfc, Filtered<Normalizer2::getNFCInstance>},
                                         {"NFD", NormalForm::kNfd, Filtered<Normalizer2::getNFDInstance>},
                                         {"NFKC", NormalForm::kNfkc, Filtered<Normalizer2::getNFKCInstance>},
                                         {"NFKD", NormalForm::kNfkd, Filtered<Normalizer2::getNFKDInstance>}}};
constexpr size_t kMaxForms = 16;

// ICU takes 32-bit lengths, and its output may be 18 times as long as its input.
constexpr size_t kMaxChunk = size_t{1} << 24;

// A longer run of characters that reorder is sorted here. ICU sorts by insertion, so that a text of combining
// marks in the wrong order would cost the square of its length. Natural text has runs of 5 at most.
constexpr size_t kLongRun = 64;
constexpr char32_t kFirstMark = 0x300;  // nothing below reorders

// A character of a decomposition and its combining class.
struct Mark {
  UChar32 c;
  uint8_t combining_class;
};

// The full decomposition of `c` into `out`, if it begins with a character that reorders.
bool AppendMarks(const Normalizer2& form, char32_t c, std::vector<Mark>* out) {
  if (c < kFirstMark) return false;
  const auto u = static_cast<UChar32>(c);
  icu::UnicodeString decomposed;
  if (!form.getDecomposition(u, decomposed)) decomposed = icu::UnicodeString(u);
  if (form.getCombiningClass(decomposed.char32At(0)) == 0) return false;
  for (int32_t i = 0; i < decomposed.length(); i = decomposed.moveIndex32(i, 1))
    out->push_back({decomposed.char32At(i), form.getCombiningClass(decomposed.char32At(i))});
  return true;
}

// Whether more than kLongRun characters come without one of ASCII between them.
bool MayHaveLongRun(std::string_view text) {
  size_t bytes = 0;
  for (const char c : text) {
    bytes = static_cast<uint8_t>(c) < 0x80 ? 0 : bytes + 1;
    if (bytes > 2 * kLongRun) return true;  // the shortest that reorder have two bytes
  }
  return false;
}

// `text` with its long runs of reordering characters decomposed and in canonical order: canonically (for the K
// forms: compatibly) the same text.
std::string SortLongRuns(const Normalizer2& form, std::string_view text) {
  std::string out;
  std::vector<Mark> run;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    Utf8Step step = DecodeUtf8(text.substr(i));
    size_t count = 0;
    for (run.clear(); AppendMarks(form, step.code_point, &run); ++count) {
      i += step.bytes;
      if (i == text.size()) break;
      step = DecodeUtf8(text.substr(i));
    }
    if (count <= kLongRun) {
      if (i == begin) i += step.bytes;
      out.append(text.substr(begin, i - begin));
      continue;
    }
    // Starters inside decompositions would cut the run; none that begin with a mark have one (tested).
    std::stable_sort(run.begin(), run.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    for (const Mark& mark : run) AppendUtf8(static_cast<char32_t>(mark.c), &out);
  }
  return out;
}

// Bytes of a chunk of `text` behind which a cut changes nothing.
size_t ChunkBytes(const Normalizer2& form, std::string_view text) {
  size_t i = std::min(text.size(), kMaxChunk);
  if (i < text.size()) i = LastCharacterStart(text.substr(0, i));
  while (i < text.size()) {
    const Utf8Step step = DecodeUtf8(text.substr(i));
    if (form.hasBoundaryBefore(static_cast<UChar32>(step.code_point))) break;
    i += step.bytes;
  }
  return i;
}

std::string Apply(const Form& kind, std::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  const Normalizer2& form = *kind.instance(error);
  std::string out;
  while (!text.empty()) {
    const std::string_view chunk = text.substr(0, ChunkBytes(form, text));
    text.remove_prefix(chunk.size());
    std::string sorted;
    if (MayHaveLongRun(chunk)) sorted = SortLongRuns(form, chunk);
    const std::string_view source = sorted.empty() ? chunk : sorted;
    icu::StringByteSink<std::string> sink(&out);
    form.normalizeUTF8(0, icu::StringPiece(source.data(), static_cast<int32_t>(source.size())), sink, nullptr, error);
    NOSA_CHECK(U_SUCCESS(error), "ICU could not normalize to {}: {}", kind.name, u_errorName(error));
  }
  return out;
}

}  // namespace

Result<Normalizer> Normalizer::FromJson(const io::Json& config) {
  Normalizer out;
  if (!config.is_null()) NOSA_RETURN_IF_ERROR(out.Add(config, "normalizer"));
  return out;
}

Status Normalizer::Add(const io::Json& config, std::string_view field) {
  NOSA_ASSIGN_OR_RETURN(const std::string type, TypeOf(config, field));
  if (type == "Sequence") {
    NOSA_ASSIGN_OR_RETURN(const io::Json* items, ArrayField(config, "normalizers", field));
    for (size_t i = 0; i < items->size(); ++i)
      NOSA_RETURN_IF_ERROR(Add((*items)[i], fmt::format("{}.normalizers[{}]", field, i)));
    return Status::Ok();
  }
  const auto form = std::find_if(kForms.begin(), kForms.end(), [&](const Form& f) { return f.name == type; });
  if (form == kForms.end())
    return Unimplemented("{}: the type is \"{}\", expected NFC, NFD, NFKC, NFKD or Sequence", field, type);
  if (forms_.size() == kMaxForms) return InvalidArgument("{}: more than {} normalizers", field, kMaxForms);
  UErrorCode error = U_ZERO_ERROR;
  if (form->instance(error) == nullptr || U_FAILURE(error))
    return FailedPrecondition("{}: ICU has no data for {}: {}", field, type, u_errorName(error));
  forms_.push_back(form->form);
  return Status::Ok();
}

std::string Normalizer::Normalize(std::string_view text) const {
  std::string out(text);
  for (const NormalForm form : forms_) out = Apply(kForms[static_cast<size_t>(form)], out);
  return out;
}

}  // namespace nosa::text
