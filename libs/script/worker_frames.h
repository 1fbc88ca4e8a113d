#pragma once

#include <memory>
#include <string>

#include "libs/base/status.h"
#include "libs/script/module.h"
#include "libs/script/wire.h"

/// What a worker reads from its pool and writes to it: see wire.h.
namespace millrace::script {

/// Null: the frame makes no sense.
std::shared_ptr<const Module> ReadModule(wire::Reader& reader);
void AppendResult(uint32_t job, uint32_t input, const CallOutput& output, std::string* out);
void AppendInspection(const StatusOr<Inspection>& inspection, const SourceFault& fault,
                      std::string* out);

}  // namespace millrace::script
