#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

/// Destinations as text.
namespace millrace::cli {

/// The answer of GET /destinations as a table, with a line below it for each that needs a look.
std::string DestinationsTable(const nlohmann::json& list);

/// The answer of a give-up.
std::string GiveUpText(const std::string& destination, const nlohmann::json& answer);

/// "1.5 GiB"
std::string BytesText(uint64_t bytes);

}  // namespace millrace::cli
