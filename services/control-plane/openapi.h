#pragma once

#include <string_view>

namespace millrace::control_plane {

/// The OpenAPI 3.1 document of the REST API, openapi.json of this folder.
std::string_view OpenApiDocument();

}  // namespace millrace::control_plane
