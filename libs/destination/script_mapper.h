#pragma once

#include <functional>
#include <memory>
#include <string>

#include "libs/destination/catalogue.h"
#include "libs/destination/config.h"
#include "libs/destination/mapper.h"
#include "libs/script/worker_pool.h"
#include "millrace/config/v1/workspace.pb.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::destination {

/// A mapper that runs `mapping_source` with `config` on `pool`, which must outlive it. Loads
/// the module before it returns: kInvalidArgument with line and stack when it is at fault. Blocks;
/// not for the pool's thread.
StatusOr<std::shared_ptr<Mapper>> MakeMapper(const v1::Definition& definition,
                                             const std::string& mapping_source,
                                             const Config& config, script::WorkerPool& pool);

/// Makes the mapper of a configured destination. The catalogue and the pool outlive the function.
std::function<StatusOr<std::shared_ptr<Mapper>>(const config::v1::Destination&)> MappersOf(
    const Catalogue& catalogue, script::WorkerPool& scripts);

}  // namespace millrace::destination
