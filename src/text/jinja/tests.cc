// The tests behind `is`.
#include "text/jinja/library.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace nosa::text::jinja {
namespace {

using I = Interpreter;

// value % divisor, as jinja2 computes it, is zero.
bool Divides(I& in, const Value& value, const Value& divisor, int64_t rest) {
  return Equal(Binary("%", value, divisor, in.budget()), Value(rest), in.budget());
}

template <char Letter, char Other = '\0'>
bool CompareAs(I& in, const Value& a, const Value& b) {
  constexpr char kName[] = {Letter, Other, '\0'};
  return Compare(kName, a, b, in.budget());
}

bool IsSequence(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_dict() ||
         (value.is_sequence() && !value.is_sequence(SequenceType::kGenerator) &&
          value.AsSequence().type < SequenceType::kKeys);
}

template <bool (*Is)(const Value&)>
Value Kindly(I&, const Value& value, const Bound&) {
  return Value(Is(value));
}
template <bool (*Is)(I&, const Value&, const Value&)>
Value With(I& in, const Value& value, const Bound& args) {
  return Value(Is(in, value, args[0]));
}

const Native kTests[] = {
    {"defined", "", Kindly<[](const Value& v) { return !v.is_undefined(); }>},
    {"undefined", "", Kindly<[](const Value& v) { return v.is_undefined(); }>},
    {"none", "", Kindly<[](const Value& v) { return v.is_none(); }>},
    {"boolean", "", Kindly<[](const Value& v) { return v.is(Kind::kBool); }>},
    {"true", "", Kindly<[](const Value& v) { return v.is(Kind::kBool) && v.AsInt() == 1; }>},
    {"false", "", Kindly<[](const Value& v) { return v.is(Kind::kBool) && v.AsInt() == 0; }>},
    {"integer", "", Kindly<[](const Value& v) { return v.is(Kind::kInt); }>},
    {"float", "", Kindly<[](const Value& v) { return v.is(Kind::kFloat); }>},
    {"number", "", Kindly<[](const Value& v) { return v.is_number(); }>},
    {"string", "", Kindly<[](const Value& v) { return v.is_string(); }>},
    {"mapping", "", Kindly<[](const Value& v) { return v.is_dict(); }>},
    {"iterable", "", Kindly<IsIterable>},
    {"sequence", "", Kindly<IsSequence>},
    {"callable", "",
     Kindly<[](const Value& v) { return v.is_undefined() || (v.is(Kind::kObject) && v.AsObject()->callable()); }>},
    {"escaped", "", Kindly<[](const Value&) { return false; }>},
    {"lower", "",
     [](I& i, const Value& v, const Bound&) {
       return FindMethod(Value(std::string()), "islower")->Run(i, Value(Str(v, i.budget())), {});
     }},
    {"upper", "",
     [](I& i, const Value& v, const Bound&) {
       return FindMethod(Value(std::string()), "isupper")->Run(i, Value(Str(v, i.budget())), {});
     }},
    {"odd", "", [](I& i, const Value& v, const Bound&) { return Value(Divides(i, v, Value(int64_t{2}), 1)); }},
    {"even", "", [](I& i, const Value& v, const Bound&) { return Value(Divides(i, v, Value(int64_t{2}), 0)); }},
    {"divisibleby", "num", With<[](I& i, const Value& v, const Value& a) { return Divides(i, v, a, 0); }>},
    {"sameas", "other", With<[](I&, const Value& v, const Value& a) { return v.SameAs(a); }>},
    {"in", "seq", With<[](I& i, const Value& v, const Value& a) { return Contains(a, v, i.budget()); }>},
    {"filter", "", [](I& i, const Value& v, const Bound&) { return Value(FindFilter(Str(v, i.budget())) != nullptr); }},
    {"test", "", [](I& i, const Value& v, const Bound&) { return Value(FindTest(Str(v, i.budget())) != nullptr); }},
    {"eq", "other", With<CompareAs<'=', '='>>},
    {"equalto", "other", With<CompareAs<'=', '='>>},
    {"==", "other", With<CompareAs<'=', '='>>},
    {"ne", "other", With<CompareAs<'!', '='>>},
    {"!=", "other", With<CompareAs<'!', '='>>},
    {"lt", "other", With<CompareAs<'<'>>},
    {"lessthan", "other", With<CompareAs<'<'>>},
    {"<", "other", With<CompareAs<'<'>>},
    {"le", "other", With<CompareAs<'<', '='>>},
    {"<=", "other", With<CompareAs<'<', '='>>},
    {"gt", "other", With<CompareAs<'>'>>},
    {"greaterthan", "other", With<CompareAs<'>'>>},
    {">", "other", With<CompareAs<'>'>>},
    {"ge", "other", With<CompareAs<'>', '='>>},
    {">=", "other", With<CompareAs<'>', '='>>},
};

}  // namespace

const Native* FindTest(std::string_view name) {
  for (const Native& test : kTests) {
    if (test.name == name) return &test;
  }
  return nullptr;
}

}  // namespace nosa::text::jinja
