#include "services/control-plane/message_json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <vector>

#include "libs/base/clock.h"
#include "services/control-plane/event_json.h"

namespace millrace::control_plane {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::json;

bool EndsWith(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}
bool IsJson(const FieldDescriptor& field) {
  return EndsWith(field.name(), "_json");
}
bool IsTime(const FieldDescriptor& field) {
  return EndsWith(field.name(), "at_us");
}

std::string MemberName(const FieldDescriptor& field) {
  std::string name = field.json_name();
  if (IsJson(field)) name.resize(name.size() - 4);
  if (IsTime(field)) name.resize(name.size() - 2);
  return name;
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Json TextValue(const FieldDescriptor& field, const std::string& text) {
  return IsJson(field) ? EventToJson(text) : Json(text);
}

Json Repeated(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  Json list = Json::array();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      list.push_back(MessageToJson(reflection.GetRepeatedMessage(message, &field, i)));
    } else {
      list.push_back(TextValue(field, reflection.GetRepeatedString(message, &field, i)));
    }
  }
  return list;
}

Json Single(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(reflection.GetMessage(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return TextValue(field, reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return Lower(reflection.GetEnum(message, &field)->name());
    case FieldDescriptor::CPPTYPE_INT64: {
      const int64_t value = reflection.GetInt64(message, &field);
      return IsTime(field) ? Json(FormatRfc3339Millis(value)) : Json(value);
    }
    default:
      return Json();
  }
}

/// Whether a field that holds nothing is left out.
bool LeaveOut(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.has_presence()) return !reflection.HasField(message, &field);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING || IsTime(field)) {
    return !reflection.HasField(message, &field);
  }
  return false;
}

Status Wrong(const std::string& where, std::string_view what) {
  return Error(StatusCode::kInvalidArgument, "{}: must be {}", where, what);
}

template <typename Int>
StatusOr<Int> Number(const Json& json, const std::string& where) {
  const bool whole =
      json.is_number_unsigned() || (json.is_number_integer() && json.get<int64_t>() >= 0);
  if (!whole || json.get<uint64_t>() > std::numeric_limits<Int>::max()) {
    return Wrong(where, "a whole number, not negative");
  }
  return static_cast<Int>(json.get<uint64_t>());
}

StatusOr<std::string> TextOf(const Json& json, const FieldDescriptor& field,
                             const std::string& where) {
  if (IsJson(field)) return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (field.name() == "version" && json.is_number_unsigned()) return json.dump();
  if (!json.is_string()) {
    return Wrong(where, field.name() == "version" ? "a version's number or id" : "a text");
  }
  return json.get<std::string>();
}

Status SetEnum(const Json& json, const FieldDescriptor& field, const std::string& where,
               Message* message) {
  std::vector<std::string> names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    const auto* value = field.enum_type()->value(i);
    names.push_back(Lower(value->name()));
    if (json.is_string() && json.get_ref<const std::string&>() == names.back()) {
      message->GetReflection()->SetEnum(message, &field, value);
      return OkStatus();
    }
  }
  return Wrong(where, fmt::format("one of: {}", fmt::join(names, ", ")));
}

Status SetSingle(const Json& json, const FieldDescriptor& field, const std::string& where,
                 Message* message) {
  const Reflection& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return JsonToMessage(json, where, reflection.MutableMessage(message, &field));
    case FieldDescriptor::CPPTYPE_STRING: {
      MR_ASSIGN_OR_RETURN(std::string text, TextOf(json, field, where));
      reflection.SetString(message, &field, std::move(text));
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!json.is_boolean()) return Wrong(where, "true or false");
      reflection.SetBool(message, &field, json.get<bool>());
      return OkStatus();
    case FieldDescriptor::CPPTYPE_UINT32: {
      MR_ASSIGN_OR_RETURN(const uint32_t value, Number<uint32_t>(json, where));
      reflection.SetUInt32(message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      MR_ASSIGN_OR_RETURN(const uint64_t value, Number<uint64_t>(json, where));
      reflection.SetUInt64(message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(json, field, where, message);
    default:
      return Wrong(where, "left out");
  }
}

Status SetRepeated(const Json& json, const FieldDescriptor& field, const std::string& where,
                   Message* message) {
  if (!json.is_array()) return Wrong(where, "a list");
  const Reflection& reflection = *message->GetReflection();
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      MR_RETURN_IF_ERROR(JsonToMessage(json[i], place, reflection.AddMessage(message, &field)));
    } else {
      MR_ASSIGN_OR_RETURN(std::string text, TextOf(json[i], field, place));
      reflection.AddString(message, &field, std::move(text));
    }
  }
  return OkStatus();
}

}  // namespace

Json MessageToJson(const Message& message) {
  Json json = Json::object();
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.is_repeated()) {
      json[MemberName(field)] = Repeated(message, field);
    } else if (!LeaveOut(message, field)) {
      json[MemberName(field)] = Single(message, field);
    }
  }
  return json;
}

Status JsonToMessage(const Json& json, const std::string& where, Message* message) {
  const auto& descriptor = *message->GetDescriptor();
  if (json.is_string() && descriptor.field_count() > 0 && descriptor.field(0)->name() == "name") {
    return SetSingle(json, *descriptor.field(0), where, message);
  }
  if (!json.is_object()) return Wrong(where.empty() ? "the body" : where, "an object");
  for (const auto& [key, value] : json.items()) {
    const FieldDescriptor* field = nullptr;
    std::vector<std::string> known;
    for (int i = 0; i < descriptor.field_count(); ++i) {
      known.push_back(MemberName(*descriptor.field(i)));
      if (known.back() == key) field = descriptor.field(i);
    }
    if (field == nullptr) {
      return Error(StatusCode::kInvalidArgument, "{}unknown key '{}'; known: {}",
                   where.empty() ? "" : where + ": ", key, fmt::join(known, ", "));
    }
    if (value.is_null() && !IsJson(*field)) continue;
    const std::string place = where.empty() ? key : where + "." + key;
    MR_RETURN_IF_ERROR(field->is_repeated() ? SetRepeated(value, *field, place, message)
                                            : SetSingle(value, *field, place, message));
  }
  return OkStatus();
}

}  // namespace millrace::control_plane
