#pragma once

#include <google/protobuf/message.h>
#include <nlohmann/json_fwd.hpp>

#include <string>

#include "libs/base/status.h"

/// Messages as the JSON of the REST API. Members have the fields' names in camelCase, and
///   `x_json`   a text that holds JSON is member `x`, as the value itself;
///   `x_at_us`  a time is member `xAt`, in RFC 3339;
///   enums      their names in lower case;
///   a message whose first field is `name` may be given as that name alone;
///   `version`  may be given as a number.
namespace millrace::control_plane {

/// Empty texts and messages that are not set are left out.
nlohmann::json MessageToJson(const google::protobuf::Message& message);

/// Fills `message`. kInvalidArgument names the place and what belongs there; a member that the
/// message does not have is refused. `where` is the place of `json` ("" for a body).
Status JsonToMessage(const nlohmann::json& json, const std::string& where,
                     google::protobuf::Message* message);

}  // namespace millrace::control_plane
