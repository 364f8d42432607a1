// nosa tokenizer inspect: the tokens of a text, with their ids.
#include <filesystem>
#include <memory>

#include "apps/command.h"
#include "apps/report.h"
#include "apps/table.h"
#include "io/json.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nosa::apps {
namespace {

struct InspectFlags {
  std::optional<std::string> model, file;
  std::string text;
  bool json = false;
};

// A token as text; bytes that are no character by themselves as <0xNN>.
std::string Shown(std::string_view bytes) {
  std::string shown;
  while (!bytes.empty()) {
    const text::Utf8Step step = text::DecodeUtf8(bytes);
    if (step.ok) {
      shown += bytes.substr(0, step.bytes);
    } else {
      for (const char byte : bytes.substr(0, step.bytes))
        shown += fmt::format("<0x{:02X}>", static_cast<uint8_t>(byte));
    }
    bytes.remove_prefix(step.bytes);
  }
  return shown;
}

Status Inspect(const InspectFlags& flags) {
  const std::filesystem::path file =
      flags.file ? std::filesystem::path(*flags.file) : std::filesystem::path(*flags.model) / "tokenizer.json";
  NOSA_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::FromFile(file));
  const std::vector<TokenId> ids = tokenizer->Encode(flags.text, {});
  NOSA_ASSIGN_OR_RETURN(const std::string decoded, tokenizer->Decode(ids, true));
  io::OrderedJson json;
  json["vocab_size"] = tokenizer->vocab_size();
  json["ids"] = ids;
  json["pieces"] = io::OrderedJson::array();
  for (const TokenId id : ids) json["pieces"].push_back(Shown(tokenizer->TokenBytes(id)));
  json["decoded"] = decoded;
  if (flags.json) {
    PrintJson(json);
    return Status::Ok();
  }
  Table table({"id", "piece"});
  for (size_t i = 0; i < ids.size(); ++i) table.Row({std::to_string(ids[i]), io::DumpJson(json["pieces"][i])});
  Print(table.ToString());
  return Status::Ok();
}

Status Check(const InspectFlags& flags) {
  if (flags.model.has_value() != flags.file.has_value()) return Status::Ok();
  return InvalidArgument("expected one of --model and --file, found {}", flags.model ? "both" : "none");
}

}  // namespace

void AddTokenizerInspect(Command command) {
  auto flags = std::make_shared<InspectFlags>();
  command.Text("--model", &flags->model, "directory with a tokenizer.json", "DIR");
  command.Text("--file", &flags->file, "a tokenizer.json", "FILE");
  command.Text("--text", &flags->text, "the text; special tokens in it are taken as such");
  command.Required("--text");
  command.Switch("--json", &flags->json, "results as JSON");
  command.Does([flags] { return Inspect(*flags); }, [flags] { return Check(*flags); });
}

}  // namespace nosa::apps
