#pragma once

#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "libs/pipeline/shares.h"
#include "millrace/settings/v1/common.pb.h"

namespace millrace::service {

/// Opens the log that the settings name. `data_dir` is where the local log goes unless they say
/// otherwise.
StatusOr<std::unique_ptr<event_log::EventLog>> OpenEventLog(
    const settings::v1::EventLogSettings& settings, const std::string& data_dir, Clock& clock);

/// Folder of the local log under these settings; empty for another backend.
std::string LocalLogFolder(const settings::v1::EventLogSettings& settings,
                           const std::string& data_dir);

/// Makes the topics that services share unless they are there.
Status EnsureSharedTopics(event_log::EventLog& log, const settings::v1::EventLogSettings& settings);

/// Partitions of new topics under these settings.
int IngestPartitions(const settings::v1::EventLogSettings& settings);
int DestinationPartitions(const settings::v1::EventLogSettings& settings);

/// How much of the log destinations may use under these settings.
pipeline::ShareOptions ShareOptionsOf(const settings::v1::EventLogSettings& settings);

}  // namespace millrace::service
