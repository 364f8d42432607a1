#include "apps/serving.h"

#include <malloc.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>

#include "base/log.h"

namespace nosa::apps {
namespace {

// The last part of the model's path: how it is named when nobody says otherwise.
std::string NameOf(const std::string& model) {
  std::error_code ignored;
  const std::filesystem::path path = std::filesystem::weakly_canonical(model, ignored);
  const std::string name = path.filename().string();
  return name.empty() ? model : name;
}

int64_t ModifiedAt(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_mtime) : 0;
}

Result<std::unique_ptr<server::App>> MakeApp(const ServingOptions& options, const Session& session, int context,
                                             engine::Service* service) {
  std::optional<std::filesystem::path> file;
  if (options.chat_template) file = *options.chat_template;
  const std::string& directory = session.flags.model;
  NOSA_ASSIGN_OR_RETURN(server::ChatFormat chat, server::ChatFormat::Load(directory, file));
  auto app = std::make_unique<server::App>(service, session.tokenizer, std::move(chat));
  app->model_names = options.names.empty() ? std::vector{NameOf(directory)} : options.names;
  const schema::ModelConfig& config = session.model->config();
  app->bos_token = session.tokenizer->TokenBytes(config.bos_token);
  if (!config.eos_tokens.empty()) app->eos_token = session.tokenizer->TokenBytes(config.eos_tokens.front());
  app->created = ModifiedAt(directory);
  app->context = context;
  app->default_max_tokens = options.default_max_tokens;
  app->deadline = options.deadline;
  app->needs_key = options.http.keys.has_value();
  return app;
}

// For as many whole contexts as fit, up to --parallel: short requests are more at a time, and what does not fit waits.
Result<std::unique_ptr<engine::Engine>> MakeServingEngine(const Session& session, int context, int parallel,
                                                          PrefixSharing prefixes) {
  while (true) {
    const std::vector<int> sequences(static_cast<size_t>(parallel), context);
    Result<std::unique_ptr<engine::Engine>> engine = MakeEngine(session, sequences, Use::kAnswer, prefixes);
    const bool smaller = !engine.ok() && engine.status().code() == StatusCode::kResourceExhausted && parallel > 1;
    if (!smaller) {
      if (engine.ok()) {
        LogInfo("{} tokens of context, room for {} of them at once or more shorter ones: {}", context, parallel,
                (*engine)->store().DescribeTiers());
      }
      return engine;
    }
    parallel /= 2;
  }
}

}  // namespace

void UseFewHeaps() {
#ifdef __GLIBC__
  // A thread per connection would get a heap of its own, eight a core, each of which keeps what was freed in it.
  mallopt(M_ARENA_MAX, 2);
#endif
}

Result<Serving> MakeServing(const Session& session, ServingOptions options) {
  NOSA_RETURN_IF_ERROR(session.NeedTokenizer());
  if (options.context) NOSA_RETURN_IF_ERROR(CheckContext(session, *options.context));
  const int context = options.context.value_or(static_cast<int>(session.model->config().max_position));
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<engine::Engine> engine,
                        MakeServingEngine(session, context, options.parallel, options.prefixes));
  Serving serving;
  serving.service = engine::Service::Create(std::move(engine), {.scheduler = options.scheduler});
  NOSA_ASSIGN_OR_RETURN(serving.app, MakeApp(options, session, context, serving.service.get()));
  NOSA_ASSIGN_OR_RETURN(serving.http, server::HttpServer::Create(serving.app.get(), std::move(options.http)));
  return serving;
}

}  // namespace nosa::apps
