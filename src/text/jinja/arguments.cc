#include "text/jinja/arguments.h"

#include <algorithm>

namespace nosa::text::jinja {

Bound::Bound(std::string_view what, std::string_view spec, const Arguments& arguments) : what_(what) {
  std::vector<std::string_view> names;
  size_t required = 0;
  while (!spec.empty()) {
    const size_t end = std::min(spec.find(' '), spec.size());
    std::string_view name = spec.substr(0, end);
    if (name.ends_with('=')) {
      name.remove_suffix(1);
    } else {
      ++required;
    }
    names.push_back(name);
    spec.remove_prefix(std::min(end + 1, spec.size()));
  }
  if (arguments.positional.size() > names.size()) {
    Fail("{} takes at most {} arguments, not {}", what, names.size(), arguments.positional.size());
  }
  values_.assign(arguments.positional.begin(), arguments.positional.end());
  values_.resize(names.size());
  for (const auto& [name, value] : arguments.named) {
    const size_t i = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (i == names.size()) Fail("{} has no argument \"{}\"", what, name);
    if (values_[i].has_value()) Fail("{} is given \"{}\" twice", what, name);
    values_[i] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i].has_value()) Fail("{} needs the argument \"{}\"", what, names[i]);
  }
}

int64_t Bound::Int(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  if (!values_[i]->is_integral()) Fail("{} takes an integer, not a {}", what_, TypeName(*values_[i]));
  return values_[i]->AsInt();
}

const std::string& Bound::Text(size_t i) const {
  if (!values_[i]->is_string()) Fail("{} takes a string, not a {}", what_, TypeName(*values_[i]));
  return values_[i]->AsString();
}

}  // namespace nosa::text::jinja
