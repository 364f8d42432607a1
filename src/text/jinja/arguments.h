// Arguments of filters, tests, methods and functions, bound to the parameters that their table line names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace nosa::text::jinja {

class Bound {
 public:
  // `spec` is "a b= c=": the parameters by place, "=" behind those that may be left out. Fails naming `what`.
  Bound(std::string_view what, std::string_view spec, const Arguments& arguments);

  bool has(size_t i) const { return values_[i].has_value(); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  Value Or(size_t i, Value fallback) const { return has(i) ? *values_[i] : std::move(fallback); }
  // Given and not None.
  bool Given(size_t i) const { return has(i) && !values_[i]->is_none(); }
  int64_t Int(size_t i, int64_t fallback) const;
  bool Bool(size_t i, bool fallback) const { return has(i) ? Truthy(*values_[i]) : fallback; }
  const std::string& Text(size_t i) const;

 private:
  std::string_view what_;
  std::vector<std::optional<Value>> values_;
};

}  // namespace nosa::text::jinja
