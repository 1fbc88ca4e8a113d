#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "libs/destination/catalogue.h"
#include "libs/destination/config.h"
#include "millrace/config/v1/workspace.pb.h"

/// What services ask of the catalogue, as functions for their Deps. The catalogue outlives them.
namespace millrace::destination {

/// The types that are compiled in and those of `folder` (empty: none).
StatusOr<Catalogue> LoadCatalogue(const std::string& folder);

/// kInvalidArgument: there is no such type; names those there are.
Status UnknownType(const Catalogue& catalogue, std::string_view type);

/// The definition of a type by name; null when there is none.
std::function<const v1::Definition*(std::string_view)> DefinitionsOf(const Catalogue& catalogue);

/// Whether a type is loaded by the warehouse loader; false for one that is not known.
std::function<bool(std::string_view type)> WarehouseTestOf(const Catalogue& catalogue);

/// Reads the configuration of a destination by the definition of its type; kInvalidArgument also
/// for an unknown type.
std::function<StatusOr<Config>(const config::v1::Destination&)> ConfigsOf(
    const Catalogue& catalogue);

/// Whether a configuration can be read; kInvalidArgument also for an unknown type.
std::function<Status(std::string_view type, std::string_view config_json)> ValidatorOf(
    const Catalogue& catalogue);

/// Masks the secrets of a configuration. Of a type that is not known (any more) nobody can say what
/// is secret: the answer is {}.
std::function<std::string(std::string_view type, std::string_view config_json)> MaskerOf(
    const Catalogue& catalogue);

}  // namespace millrace::destination
