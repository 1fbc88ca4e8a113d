#pragma once

#include <memory>
#include <string>

#include "libs/event_log/kafka/cluster.h"

namespace millrace::event_log::kafka {

/// Shuts out an older transaction of the same id, and aborts what that left open.
StatusOr<std::unique_ptr<Transaction>> NewKafkaTransaction(Cluster& cluster, const std::string& id);

}  // namespace millrace::event_log::kafka
