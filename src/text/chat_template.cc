#include "text/chat_template.h"

#include <new>
#include <utility>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

Status ToStatus(const jinja::TemplateError& error) {
  const StatusCode code = error.limit ? StatusCode::kResourceExhausted : StatusCode::kInvalidArgument;
  return Status(code, fmt::format("chat template, line {}: {}", error.line, error.message));
}

Status NoMemory() { return ResourceExhausted("no memory for the chat template"); }

}  // namespace

struct ChatTemplate::Impl {
  jinja::Body body;
};

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source) {
  if (!IsWellFormedUtf8(source)) return InvalidArgument("the chat template is not well-formed UTF-8");
  try {
    return ChatTemplate(std::make_shared<const Impl>(Impl{jinja::ParseTemplate(source)}));
  } catch (const jinja::TemplateError& error) {
    return ToStatus(error);
  } catch (const std::bad_alloc&) {
    return NoMemory();
  }
}

Result<std::string> ChatTemplate::Render(const io::OrderedJson& context, const RenderLimits& limits,
                                         const WallClock& clock) const {
  const jinja::Environment environment = {
      .max_steps = limits.max_steps,
      .max_value_bytes = limits.max_value_bytes,
      .max_output_bytes = limits.max_output_bytes,
      .max_depth = limits.max_depth,
      .now = clock ? clock : [] { return std::time(nullptr); },
  };
  try {
    return jinja::Interpreter(environment).Render(impl_->body, context);
  } catch (const jinja::TemplateError& error) {
    return ToStatus(error);
  } catch (const std::bad_alloc&) {
    return NoMemory();
  }
}

}  // namespace nosa::text
