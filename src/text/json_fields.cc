#include "text/json_fields.h"

namespace nosa::text {

const io::Json* Find(const io::Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> TypeOf(const io::Json& object, std::string_view where) {
  if (!object.is_object()) return InvalidArgument("{}: expected an object, found {}", where, object.type_name());
  const io::Json* type = Find(object, "type");
  if (type == nullptr) return InvalidArgument("{}.type: expected a text, found none", where);
  if (!type->is_string()) return InvalidArgument("{}.type: expected a text, found {}", where, type->type_name());
  return type->get<std::string>();
}

Result<const io::Json*> ArrayField(const io::Json& object, std::string_view key, std::string_view where) {
  const io::Json* array = Find(object, key);
  if (array == nullptr) return InvalidArgument("{}.{}: expected an array, found none", where, key);
  if (!array->is_array()) return InvalidArgument("{}.{}: expected an array, found {}", where, key, array->type_name());
  return array;
}

}  // namespace nosa::text
