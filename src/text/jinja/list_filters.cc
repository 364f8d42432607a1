#include "text/jinja/list_filters.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/string_functions.h"
#include "text/unicode.h"

namespace nosa::text::jinja {
namespace {

using I = Interpreter;

Value List(I& in, Values items) { return MakeList(std::move(items), in.budget()); }
Value Generator(I& in, Values items) { return MakeSequence(SequenceType::kGenerator, std::move(items), in.budget()); }

// item.a.b.0 of an attribute given as "a.b.0" or as an integer.
Value Dig(I& in, const Value& item, const Value& path, const Value* fallback = nullptr) {
  if (path.is_integral()) return in.Item(item, path);
  if (!path.is_string()) Fail("an attribute is a name or a number, not a {}", TypeName(path));
  Value value = item;
  std::string_view rest = path.AsString();
  while (true) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string part(rest.substr(0, dot));
    const bool number = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    value = in.Item(value, number ? Value(int64_t{std::stoll(part)}) : Value(part));
    if (fallback != nullptr && value.is_undefined()) value = *fallback;
    if (dot == rest.size()) return value;
    rest.remove_prefix(dot + 1);
  }
}

// What an item is compared by: an attribute, and without regard to case unless asked for.
Value SortKey(I& in, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute != nullptr ? Dig(in, item, *attribute) : item;
  if (!case_sensitive && key.is_string()) {
    in.budget().Bytes(key.AsString().size());
    return Value(ToLower(key.AsString()));
  }
  return key;
}

// The keys of one item, of which sort takes several with commas between.
Value SortKeys(I& in, const Value& item, const Value* attribute, bool case_sensitive) {
  if (attribute == nullptr || !attribute->is_string()) {
    return MakeList({SortKey(in, item, attribute, case_sensitive)}, in.budget());
  }
  Values keys;
  std::string_view rest = attribute->AsString();
  while (true) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const Value part(std::string(rest.substr(0, comma)));
    keys.push_back(SortKey(in, item, &part, case_sensitive));
    if (comma == rest.size()) return MakeList(std::move(keys), in.budget());
    rest.remove_prefix(comma + 1);
  }
}

using Keyed = std::pair<Value, Value>;

void SortByKey(I& in, std::vector<Keyed>* keyed, bool reverse) {
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? Less(b.first, a.first, in.budget()) : Less(a.first, b.first, in.budget());
  });
}

Values Seconds(std::vector<Keyed> keyed) {
  Values items;
  for (Keyed& pair : keyed) items.push_back(std::move(pair.second));
  return items;
}

Value Sort(I& in, const Value& value, const Bound& args) {
  std::vector<Keyed> keyed;
  const Value* attribute = args.Given(2) ? &args[2] : nullptr;
  for (Value& item : Iterate(value, in.budget())) {
    Value key = SortKeys(in, item, attribute, args.Bool(1, false));
    keyed.emplace_back(std::move(key), std::move(item));
  }
  SortByKey(in, &keyed, args.Bool(0, false));
  return List(in, Seconds(std::move(keyed)));
}

Value DictSort(I& in, const Value& value, const Bound& args) {
  if (!value.is_dict()) Fail("dictsort takes a dict, not a {}", TypeName(value));
  const std::string by = args.has(1) ? args.Text(1) : "key";
  if (by != "key" && by != "value") Fail("dictsort sorts by key or value, not by \"{}\"", by);
  std::vector<Keyed> keyed;
  for (const auto& [key, item] : value.AsDict().items) {
    keyed.emplace_back(SortKey(in, by == "key" ? key : item, nullptr, args.Bool(0, false)),
                       MakeTuple({key, item}, in.budget()));
  }
  SortByKey(in, &keyed, args.Bool(2, false));
  return List(in, Seconds(std::move(keyed)));
}

Value Unique(I& in, const Value& value, const Bound& args) {
  Dict seen;
  Values items;
  const Value* attribute = args.Given(1) ? &args[1] : nullptr;
  for (const Value& item : Iterate(value, in.budget())) {
    const Value key = SortKey(in, item, attribute, args.Bool(0, false));
    if (seen.Find(key, in.budget()) != nullptr) continue;
    seen.Set(key, Value(), in.budget());
    items.push_back(item);
  }
  return Generator(in, std::move(items));
}

Value GroupBy(I& in, const Value& value, const Bound& args) {
  std::vector<Keyed> keyed;
  const Value fallback = args.Or(1, Value());
  for (Value& item : Iterate(value, in.budget())) {
    Value key = Dig(in, item, args[0], args.Given(1) ? &fallback : nullptr);
    if (!args.Bool(2, false) && key.is_string()) key = Value(ToLower(key.AsString()));
    keyed.emplace_back(std::move(key), std::move(item));
  }
  SortByKey(in, &keyed, false);
  Values groups;
  for (size_t i = 0; i < keyed.size();) {
    const size_t first = i;
    Values members;
    while (i < keyed.size() && Equal(keyed[first].first, keyed[i].first, in.budget())) {
      members.push_back(keyed[i++].second);
    }
    const Value name = Dig(in, members[0], args[0], args.Given(1) ? &fallback : nullptr);
    groups.push_back(MakeTuple({name, List(in, std::move(members))}, in.budget()));
  }
  return List(in, std::move(groups));
}

template <bool Largest>
Value Extreme(I& in, const Value& value, const Bound& args) {
  const Value* attribute = args.Given(1) ? &args[1] : nullptr;
  std::optional<Keyed> best;
  for (Value& item : Iterate(value, in.budget())) {
    Value key = SortKey(in, item, attribute, args.Bool(0, false));
    const bool better =
        !best.has_value() || (Largest ? Less(best->first, key, in.budget()) : Less(key, best->first, in.budget()));
    if (better) best.emplace(std::move(key), std::move(item));
  }
  return best.has_value() ? best->second : Value::Undefined("an empty list has no smallest or largest item");
}

Value Sum(I& in, const Value& value, const Bound& args) {
  Value sum = args.Or(1, Value(int64_t{0}));
  if (sum.is_string()) Fail("sum does not add strings");
  for (const Value& item : Iterate(value, in.budget())) {
    sum = Binary("+", sum, args.Given(0) ? Dig(in, item, args[0]) : item, in.budget());
  }
  return sum;
}

Value Join(I& in, const Value& value, const Bound& args) {
  const std::string between = args.has(0) ? Str(args[0], in.budget()) : "";
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(value, in.budget())) {
    in.budget().Bytes(between.size());
    if (!first) out += between;
    out += Str(args.Given(1) ? Dig(in, item, args[1]) : item, in.budget());
    first = false;
  }
  return Value(std::move(out));
}

Value First(I& in, const Value& value, const Bound&) {
  const Values items = Iterate(value, in.budget());
  return items.empty() ? Value::Undefined("an empty list has no first item") : items.front();
}

Value Last(I& in, const Value& value, const Bound&) {
  if (value.is_sequence(SequenceType::kGenerator)) Fail("a generator has no last item");
  const Values items = Iterate(value, in.budget());
  return items.empty() ? Value::Undefined("an empty list has no last item") : items.back();
}

Value Reverse(I& in, const Value& value, const Bound&) {
  Values items = Iterate(value, in.budget());
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return Generator(in, std::move(items));
  std::string out;
  for (const Value& c : items) out += c.AsString();
  return Value(std::move(out));
}

Value ItemsOf(I& in, const Value& value, const Bound&) {
  if (value.is_undefined()) return Generator(in, {});
  if (!value.is_dict()) Fail("items takes a dict, not a {}", TypeName(value));
  return Generator(in, FindMethod(value, "items")->Run(in, value, {}).AsSequence().items);
}

Value Batch(I& in, const Value& value, const Bound& args) {
  const int64_t size = args.Int(0, 1);
  Values batches, batch;
  for (const Value& item : Iterate(value, in.budget())) {
    if (static_cast<int64_t>(batch.size()) == size) batches.push_back(List(in, std::exchange(batch, {})));
    batch.push_back(item);
  }
  if (batch.empty()) return Generator(in, std::move(batches));
  if (args.Given(1) && size > static_cast<int64_t>(batch.size())) {
    if (size > kMaxRange) Fail("a batch has more than {} items", kMaxRange);
    batch.resize(static_cast<size_t>(size), args[1]);
  }
  batches.push_back(List(in, std::move(batch)));
  return Generator(in, std::move(batches));
}

Value SliceInto(I& in, const Value& value, const Bound& args) {
  const Values items = Iterate(value, in.budget());
  const int64_t count = args.Int(0, 1), size = static_cast<int64_t>(items.size());
  if (count < 1 || count > kMaxRange) Fail("slice makes 1 to {} lists, not {}", kMaxRange, count);
  Values slices;
  int64_t place = 0;
  for (int64_t i = 0; i < count; ++i) {
    const bool longer = i < size % count;
    const int64_t end = place + size / count + (longer ? 1 : 0);
    Values slice(items.begin() + place, items.begin() + end);
    if (args.Given(1) && !longer) slice.push_back(args[1]);
    slices.push_back(List(in, std::move(slice)));
    place = end;
  }
  return Generator(in, std::move(slices));
}

// map("filter", ...) or map(attribute="a.b", default=...).
Value Map(I& in, const Value& value, const Arguments& arguments) {
  Values out;
  if (!Truthy(value)) return Generator(in, {});  // also for None and 0
  if (arguments.positional.empty()) {
    const Bound args("map", "attribute default=", arguments);
    const Value fallback = args.Or(1, Value());
    for (const Value& item : Iterate(value, in.budget())) {
      out.push_back(Dig(in, item, args[0], args.has(1) ? &fallback : nullptr));
    }
    return Generator(in, std::move(out));
  }
  if (!arguments.positional[0].is_string()) Fail("map takes the name of a filter");
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : Iterate(value, in.budget())) {
    in.budget().Step();
    out.push_back(in.Filter(arguments.positional[0].AsString(), item, rest));
  }
  return Generator(in, std::move(out));
}

// select, reject, selectattr and rejectattr: by a test, or by truth.
template <bool Keep, bool ByAttribute>
Value Select(I& in, const Value& value, const Arguments& arguments) {
  if (!Truthy(value)) return Generator(in, {});  // also for None and 0
  Arguments rest = arguments;
  if (ByAttribute && rest.positional.empty()) Fail("selectattr and rejectattr need an attribute");
  Value attribute;
  std::string test;
  if (ByAttribute) {
    attribute = rest.positional[0];
    rest.positional.erase(rest.positional.begin());
  }
  if (!rest.positional.empty()) {
    if (!rest.positional[0].is_string()) Fail("select and reject take the name of a test");
    test = rest.positional[0].AsString();
    rest.positional.erase(rest.positional.begin());
  }
  Values out;
  for (const Value& item : Iterate(value, in.budget())) {
    in.budget().Step();
    const Value subject = ByAttribute ? Dig(in, item, attribute) : item;
    if ((test.empty() ? Truthy(subject) : in.Test(test, subject, rest)) == Keep) out.push_back(item);
  }
  return Generator(in, std::move(out));
}

const Native kListFilters[] = {
    {"list", "", [](I& i, const Value& v, const Bound&) { return List(i, Iterate(v, i.budget())); }},
    {"join", "d= attribute=", Join},
    {"first", "", First},
    {"last", "", Last},
    {"reverse", "", Reverse},
    {"items", "", ItemsOf},
    {"dictsort", "case_sensitive= by= reverse=", DictSort},
    {"sort", "reverse= case_sensitive= attribute=", Sort},
    {"unique", "case_sensitive= attribute=", Unique},
    {"groupby", "attribute default= case_sensitive=", GroupBy},
    {"min", "case_sensitive= attribute=", Extreme<false>},
    {"max", "case_sensitive= attribute=", Extreme<true>},
    {"sum", "attribute= start=", Sum},
    {"batch", "linecount fill_with=", Batch},
    {"slice", "slices fill_with=", SliceInto},
    {"map", "", nullptr, Map},
    {"select", "", nullptr, Select<true, false>},
    {"reject", "", nullptr, Select<false, false>},
    {"selectattr", "", nullptr, Select<true, true>},
    {"rejectattr", "", nullptr, Select<false, true>},
};

}  // namespace

const Native* FindListFilter(std::string_view name) {
  for (const Native& filter : kListFilters) {
    if (filter.name == name) return &filter;
  }
  return nullptr;
}

}  // namespace nosa::text::jinja
