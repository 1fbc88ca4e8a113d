#pragma once

#include <memory>
#include <string>

#include "libs/destination/mapper.h"
#include "libs/script/worker_pool.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::destination {

/// A mapper that runs `mapping_source` with `config_json` on `pool`, which must outlive it. Loads
/// the module before it returns: kInvalidArgument with line and stack when it is at fault. Blocks;
/// not for the pool's thread.
StatusOr<std::shared_ptr<Mapper>> MakeMapper(const v1::Definition& definition,
                                             const std::string& mapping_source,
                                             const std::string& config_json,
                                             script::WorkerPool& pool);

}  // namespace millrace::destination
