#pragma once

#include <memory>

#include "libs/event_log/kafka/cluster.h"

namespace millrace::event_log::kafka {

StatusOr<std::unique_ptr<Appender>> NewKafkaAppender(Cluster& cluster);

}  // namespace millrace::event_log::kafka
