// Arrays, strings and numbers of a schema.
#include <algorithm>
#include <cmath>
#include <limits>

#include "text/json_number.h"
#include "text/json_pattern.h"
#include "text/json_schema.h"

namespace nosa::text {
namespace {

constexpr int kNoLimit = std::numeric_limits<int>::max();

// The bounds of a number: of the four keywords, as integers, the tightest of each side.
struct Bounds {
  Bound least = {-kLargestInteger, true}, most = {kLargestInteger, true};
  bool any = false;
};

Status ReadBound(const io::OrderedJson& schema, const char* key, bool whole, const std::string& place, Bounds* bounds) {
  if (!schema.contains(key)) return Status::Ok();
  if (!schema[key].is_number()) return SchemaError(Below(place, key), "expected a number");
  const bool lower = std::string_view(key).find("inimum") != std::string_view::npos;
  const bool included = !std::string_view(key).starts_with("exclusive");
  const double given = schema[key].get<double>();
  const double rounded = lower ? std::ceil(given) : std::floor(given);
  if (!whole && rounded != given)
    return SchemaError(Below(place, key), "of numbers that are no integers, only integers are supported as bounds");
  // Doubles beyond this are no longer exact; the language ends there anyway.
  const double limit = static_cast<double>(kLargestInteger);
  if (!(rounded > -limit && rounded < limit)) {
    if ((rounded < 0) == lower) return Status::Ok();
    return SchemaError(Below(place, key),
                       fmt::format("integers are written up to {}, found {}", kLargestInteger, given));
  }
  const int64_t exact = schema[key].is_number_integer() ? schema[key].get<int64_t>() : static_cast<int64_t>(rounded);
  Bound bound = {exact, included || rounded != given};
  if (whole && !bound.included) bound = {lower ? exact + 1 : exact - 1, true};
  Bound& now = lower ? bounds->least : bounds->most;
  const bool tighter = lower ? bound.value > now.value : bound.value < now.value;
  if (tighter || (bound.value == now.value && !bound.included)) now = bound;
  bounds->any = true;
  return Status::Ok();
}

Result<Bounds> ReadBounds(const io::OrderedJson& schema, bool whole, const std::string& place) {
  Bounds bounds;
  for (const char* key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
    NOSA_RETURN_IF_ERROR(ReadBound(schema, key, whole, place, &bounds));
  const bool empty = bounds.least.value > bounds.most.value ||
                     (bounds.least.value == bounds.most.value && !(bounds.least.included && bounds.most.included));
  if (empty) return SchemaError(place, "no number is within the bounds");
  return bounds;
}

}  // namespace

Result<ExprPtr> SchemaCompiler::Integer(const Schema& schema, const std::string& place) {
  NOSA_ASSIGN_OR_RETURN(const Bounds bounds, ReadBounds(schema, true, place));
  return bounds.any ? IntegerRange(bounds.least.value, bounds.most.value) : json_.Integer();
}

Result<ExprPtr> SchemaCompiler::Number(const Schema& schema, const std::string& place) {
  NOSA_ASSIGN_OR_RETURN(const Bounds bounds, ReadBounds(schema, false, place));
  return bounds.any ? NumberRange(bounds.least, bounds.most) : json_.Number();
}

Result<ExprPtr> SchemaCompiler::String(const Schema& schema, const std::string& place) {
  NOSA_ASSIGN_OR_RETURN(const int least, GetCount(schema, "minLength", 0, place));
  NOSA_ASSIGN_OR_RETURN(const int most, GetCount(schema, "maxLength", kNoLimit, place));
  if (least > most) return SchemaError(Below(place, "minLength"), fmt::format("{} is above maxLength {}", least, most));
  const bool sized = least > 0 || most != kNoLimit;
  if (static_cast<int>(sized) + schema.contains("pattern") + schema.contains("format") > 1)
    return SchemaError(place, "only one of pattern, format, and a length is supported");
  ExprPtr inner;
  for (const char* key : {"pattern", "format"}) {
    if (!schema.contains(key)) continue;
    if (!schema[key].is_string()) return SchemaError(Below(place, key), "expected a string");
    const auto& value = schema[key].get_ref<const std::string&>();
    if (key == std::string_view("pattern")) {
      auto pattern = PatternExpr(value, &json_);
      if (!pattern.ok()) return SchemaError(Below(place, key), pattern.status().message());
      inner = *std::move(pattern);
    } else if ((inner = FormatExpr(value, &json_)) == nullptr) {
      return SchemaError(Below(place, key), fmt::format("expected date-time, date, time, uuid or ipv4, found {}",
                                                        io::DumpJson(schema[key])));
    }
  }
  if (inner == nullptr && !sized) return json_.String();
  if (inner == nullptr) inner = Repeat(json_.Character(), least, most == kNoLimit ? kUnbounded : most);
  return Sequence({Literal("\""), inner, Literal("\"")});
}

Result<ExprPtr> SchemaCompiler::Array(const Schema& schema, const std::string& place) {
  if (schema.contains("uniqueItems") && schema["uniqueItems"] != false)
    return SchemaError(Below(place, "uniqueItems"), "is not supported");
  NOSA_ASSIGN_OR_RETURN(const int least, GetCount(schema, "minItems", 0, place));
  NOSA_ASSIGN_OR_RETURN(int most, GetCount(schema, "maxItems", kNoLimit, place));
  std::vector<ExprPtr> begin;
  if (schema.contains("prefixItems")) {
    const std::string below = Below(place, "prefixItems");
    if (!schema["prefixItems"].is_array()) return SchemaError(below, "expected a list of schemas");
    for (const Schema& item : schema["prefixItems"]) {
      NOSA_ASSIGN_OR_RETURN(ExprPtr expr, Any(item, Below(below, std::to_string(begin.size()))));
      begin.push_back(rules_->AddRef(Below(below, std::to_string(begin.size())), std::move(expr)));
    }
  }
  ExprPtr item = json_.Value();
  const bool no_more = schema.contains("items") && schema["items"] == false;
  if (no_more) {
    most = std::min(most, static_cast<int>(begin.size()));
  } else if (schema.contains("items")) {
    NOSA_ASSIGN_OR_RETURN(item, Any(schema["items"], Below(place, "items")));
    item = rules_->AddRef(Below(place, "items"), std::move(item));
  }
  if (least > most) return SchemaError(Below(place, "minItems"), fmt::format("{} is above the most, {}", least, most));
  const ExprPtr open = Sequence({Literal("["), json_.Space()}), close = Literal("]");
  if (most == 0) return Sequence({open, close});
  if (begin.empty()) begin.push_back(item);
  const int known = std::min(static_cast<int>(begin.size()), most);
  ExprPtr rest = Repeat(json_.Next(item), std::max(0, least - known), most == kNoLimit ? kUnbounded : most - known);
  for (int i = known; i-- > 1;) {
    rest = Sequence({json_.Next(begin[static_cast<size_t>(i)]), rest});
    if (i >= least) rest = Optional(rest);
    rest = rules_->AddRef("the items of " + place, rest);
  }
  const ExprPtr items = Sequence({begin.front(), rest, json_.Space()});
  return Sequence({open, least == 0 ? Optional(items) : items, close});
}

}  // namespace nosa::text
