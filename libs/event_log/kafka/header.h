#pragma once

namespace millrace::event_log::kafka {

/// The Kafka header that carries Record::meta.
inline constexpr const char* kMetaHeader = "m";

}  // namespace millrace::event_log::kafka
