#pragma once

#include "libs/base/status.h"
#include "millrace/settings/v1/process.pb.h"

namespace millrace::up {

/// Runs all services in this process on the log that the settings name, until SIGTERM or SIGINT,
/// then drains them. An error says in one line what could not be started and how to mend it.
Status Run(const settings::v1::ProcessSettings& settings);

}  // namespace millrace::up
