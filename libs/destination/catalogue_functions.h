#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libs/destination/catalogue.h"
#include "libs/destination/mapper.h"
#include "libs/script/worker_pool.h"
#include "millrace/config/v1/workspace.pb.h"

/// What services ask of the catalogue, as functions for their Deps. The catalogue (and pool)
/// outlive them.
namespace millrace::destination {

/// The types that are compiled in and those of `folder` (empty: none).
StatusOr<Catalogue> LoadCatalogue(const std::string& folder);

/// The definition of a type by name; null when there is none.
std::function<const v1::Definition*(std::string_view)> DefinitionsOf(const Catalogue& catalogue);

/// Checks a configuration by the definition of its type; kInvalidArgument also for an unknown type.
std::function<Status(std::string_view type, std::string_view config_json)> ValidatorOf(
    const Catalogue& catalogue);

/// Masks the secrets of a configuration. Of a type that is not known (any more) nobody can say what
/// is secret: the answer is {}.
std::function<std::string(std::string_view type, std::string_view config_json)> MaskerOf(
    const Catalogue& catalogue);

/// Makes the mapper of a configured destination.
std::function<StatusOr<std::shared_ptr<Mapper>>(const config::v1::Destination&)> MappersOf(
    const Catalogue& catalogue, script::WorkerPool& scripts);

}  // namespace millrace::destination
