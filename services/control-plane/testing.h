#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "services/control-plane/workspace_document.h"

namespace millrace::control_plane {

/// The hooks of tests: one type, WEBHOOK, which needs a webhookUrl and has a secret.
inline DestinationHooks TestHooks() {
  return {.validate = [](std::string_view type, std::string_view config_json) -> Status {
            if (type != "WEBHOOK") {
              return Error(StatusCode::kInvalidArgument, "there is no destination type '{}'", type);
            }
            if (!nlohmann::json::parse(config_json).contains("webhookUrl")) {
              return MakeStatus(StatusCode::kInvalidArgument, "webhookUrl: is missing");
            }
            return OkStatus();
          },
          .mask =
              [](std::string_view, std::string_view config_json) {
                nlohmann::json config = nlohmann::json::parse(config_json);
                if (config.contains("secret")) {
                  const std::string secret = config["secret"];
                  config["secret"] = "***" + secret.substr(secret.size() - 4);
                }
                return config.dump();
              },
          .is_warehouse = [](std::string_view type) { return type == "WAREHOUSE"; }};
}

}  // namespace millrace::control_plane
