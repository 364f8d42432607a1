// JSON Schema to grammar rules. Private to the text room.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/json_rules.h"

namespace nosa::text {

// Every function takes a schema and its place (a JSON pointer), and fails with kInvalidArgument naming that place.
class SchemaCompiler {
 public:
  using Schema = io::OrderedJson;

  // `root` and `rules` outlive this.
  SchemaCompiler(const Schema& root, RuleSet* rules) : root_(root), rules_(rules), json_(rules) {}

  // Also compiles what it refers to.
  Result<ExprPtr> Compile();

 private:
  struct Property {
    std::string name;
    ExprPtr value;
    bool required = false;
  };

  // json_schema.cc
  Result<ExprPtr> Any(const Schema& schema, const std::string& place);
  Result<ExprPtr> NotNull(const Schema& schema, const std::string& place);
  Result<ExprPtr> Reference(const Schema& schema, const std::string& place);
  Result<ExprPtr> Enumeration(const Schema& schema, const std::string& place);
  Result<ExprPtr> Alternatives(const Schema& schema, const std::string& keyword, const std::string& place);
  Result<ExprPtr> Typed(const Schema& schema, const std::string& place);
  Result<ExprPtr> OfType(const std::string& type, const Schema& schema, const std::string& place);
  Result<const Schema*> Resolve(const Schema& reference, const std::string& place) const;

  // json_schema_merge.cc
  Result<ExprPtr> Merged(const Schema& schema, const std::string& place);
  Status MergeInto(Schema* all, const Schema& part, const std::string& place, int nested) const;
  Status CheckApart(const Schema& choices, const std::string& place) const;
  Result<const Schema*> Behind(const Schema& schema, const std::string& place) const;

  // json_schema_object.cc
  Result<ExprPtr> Object(const Schema& schema, const std::string& place);
  Status ReadRequired(const Schema& schema, const std::string& place, ExprPtr others, std::vector<Property>* all);
  Result<ExprPtr> Others(const Schema& schema, const std::string& place);
  ExprPtr Members(const std::vector<Property>& properties, const ExprPtr& others, const std::string& place);

  // json_schema_values.cc
  Result<ExprPtr> Array(const Schema& schema, const std::string& place);
  Result<ExprPtr> String(const Schema& schema, const std::string& place);
  Result<ExprPtr> Integer(const Schema& schema, const std::string& place);
  Result<ExprPtr> Number(const Schema& schema, const std::string& place);

  const Schema& root_;
  RuleSet* rules_;
  JsonRules json_;
  std::map<std::string, int> references_;                       // rule of each $ref
  std::vector<std::pair<std::string, const Schema*>> waiting_;  // of them, those without a body yet
};

// kInvalidArgument: "at PLACE: SENTENCE". The place of the root is written "#".
Status SchemaError(const std::string& place, std::string_view sentence);
// `place` and one more step, escaped as RFC 6901 says.
std::string Below(const std::string& place, std::string_view step);
// Whether all keywords are among `known`, or say nothing about the value (title, description, ...).
Status CheckKeywords(const io::OrderedJson& schema, const std::string& place, std::vector<std::string_view> known);
// A size of at least 0; `fallback` when absent.
Result<int> GetCount(const io::OrderedJson& schema, const char* key, int fallback, const std::string& place);

}  // namespace nosa::text
