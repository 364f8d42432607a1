#include "apps/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>

#include "base/bytes.h"

namespace nosa::apps {
namespace {

// The whole of `text` as a number of type T; false when it is none or does not fit.
template <typename T>
bool ParseWhole(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

Status ParseInt(std::string_view text, int min, int max, int* value) {
  int64_t wide = 0;
  if (ParseWhole(text, &wide) && wide >= min && wide <= max) {
    *value = static_cast<int>(wide);
    return Status::Ok();
  }
  if (max == std::numeric_limits<int>::max())
    return InvalidArgument("expected an integer of at least {}, found \"{}\"", min, text);
  return InvalidArgument("expected an integer from {} to {}, found \"{}\"", min, max, text);
}

template <typename T>
Status ParseNumber(std::string_view text, T* value) {
  if (ParseWhole(text, value)) return Status::Ok();
  return InvalidArgument("expected a number, found \"{}\"", text);
}

template <typename T>
std::string Shown(const T& value) {
  return fmt::format("{}", value);
}

}  // namespace

CLI::Option* Command::Add(const std::string& name, const std::string& type, const std::string& shown_default,
                          const std::string& help, std::function<Status(std::string_view)> parse) {
  CLI::callback_t read = [name, parse = std::move(parse)](const CLI::results_t& texts) {
    for (const std::string& text : texts) {
      const Status status = parse(text);
      if (!status.ok()) throw CLI::ValidationError(fmt::format("{}: {}", name, status.message()));
    }
    return true;
  };
  CLI::Option* option = app_->add_option(name, read, help);
  option->type_name(type)->type_size(1)->expected(1)->allow_extra_args(false);
  if (!shown_default.empty()) option->default_str(shown_default);
  return option;
}

void Command::Switch(const std::string& name, bool* value, const std::string& help) {
  app_->add_flag(name, *value, help);
}

void Command::OnOff(const std::string& name, bool* value, const std::string& help) {
  Add(name, "on|off", *value ? "on" : "off", help, [value](std::string_view text) {
    if (text != "on" && text != "off") return InvalidArgument("expected on or off, found \"{}\"", text);
    *value = text == "on";
    return Status::Ok();
  });
}

void Command::Text(const std::string& name, std::string* value, const std::string& help, const std::string& type) {
  Add(name, type, *value, help, [value](std::string_view text) {
    *value = text;
    return Status::Ok();
  });
}

void Command::Text(const std::string& name, std::optional<std::string>* value, const std::string& help,
                   const std::string& type) {
  Add(name, type, "", help, [value](std::string_view text) {
    *value = std::string(text);
    return Status::Ok();
  });
}

void Command::Texts(const std::string& name, std::vector<std::string>* values, const std::string& help,
                    const std::string& type) {
  CLI::Option* option = Add(name, type, "", help, [values](std::string_view text) {
    values->emplace_back(text);
    return Status::Ok();
  });
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void Command::Choice(const std::string& name, std::string* value, std::vector<std::string> choices,
                     const std::string& help) {
  const std::string all = fmt::format("{}", fmt::join(choices, "|"));
  Add(name, all, *value, help, [value, choices = std::move(choices), all](std::string_view text) {
    if (std::find(choices.begin(), choices.end(), text) == choices.end())
      return InvalidArgument("expected {}, found \"{}\"", all, text);
    *value = text;
    return Status::Ok();
  });
}

void Command::Int(const std::string& name, int* value, int min, const std::string& help, int max) {
  Add(name, "N", Shown(*value), help, [=](std::string_view text) { return ParseInt(text, min, max, value); });
}

void Command::Int(const std::string& name, std::optional<int>* value, int min, const std::string& help) {
  Add(name, "N", *value ? Shown(**value) : "", help,
      [=](std::string_view text) { return ParseInt(text, min, std::numeric_limits<int>::max(), &value->emplace()); });
}

void Command::Ints(const std::string& name, std::vector<int>* values, int min, const std::string& help) {
  const auto given = std::make_shared<bool>(false);
  CLI::Option* option =
      Add(name, "N,...", fmt::format("{}", fmt::join(*values, ",")), help, [=](std::string_view text) {
        if (!*given) values->clear();
        *given = true;
        while (true) {
          const size_t comma = std::min(text.find(','), text.size());
          NOSA_RETURN_IF_ERROR(
              ParseInt(text.substr(0, comma), min, std::numeric_limits<int>::max(), &values->emplace_back()));
          if (comma == text.size()) return Status::Ok();
          text.remove_prefix(comma + 1);
        }
      });
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void Command::Seed(const std::string& name, uint64_t* value, const std::string& help) {
  Add(name, "N", Shown(*value), help, [value](std::string_view text) {
    if (ParseWhole(text, value)) return Status::Ok();
    return InvalidArgument("expected an integer from 0 to 2^64 - 1, found \"{}\"", text);
  });
}

void Command::Number(const std::string& name, float* value, const std::string& help) {
  Add(name, "X", Shown(*value), help, [value](std::string_view text) { return ParseNumber(text, value); });
}

void Command::Number(const std::string& name, double* value, const std::string& help) {
  Add(name, "X", Shown(*value), help, [value](std::string_view text) { return ParseNumber(text, value); });
}

void Command::Size(const std::string& name, std::optional<uint64_t>* value, const std::string& help) {
  Add(name, "SIZE", *value ? Shown(**value) : "", help, [value](std::string_view text) {
    NOSA_ASSIGN_OR_RETURN(*value, ParseByteSize(text));
    return Status::Ok();
  });
}

void Command::Parsed(const std::string& name, const std::string& type, std::function<Status(std::string_view)> parse,
                     const std::string& help) {
  Add(name, type, "", help, std::move(parse));
}

void Command::Required(const std::string& name) { app_->get_option(name)->required(); }

Command Command::Sub(const std::string& name, const std::string& help) {
  app_->require_subcommand(1);
  return Command(app_->add_subcommand(name, help), leaves_);
}

void Command::Does(std::function<Status()> run, std::function<Status()> check) {
  run_ = std::move(run);
  check_ = std::move(check);
  leaves_->push_back(*this);
}

std::string Command::Path() const {
  std::string path = app_->get_name();
  for (const CLI::App* app = app_->get_parent(); app != nullptr && app->get_parent() != nullptr;
       app = app->get_parent()) {
    path = fmt::format("{} {}", app->get_name(), path);
  }
  return path;
}

bool Command::Chosen() const { return app_->parsed(); }

}  // namespace nosa::apps
