#include "libs/event_log/kafka/producer_topics.h"

#include <array>

#include "libs/base/hash.h"
#include "libs/event_log/kafka/header.h"

namespace millrace::event_log::kafka {
namespace {

// librdkafka's own interface takes pointers to non-const and does not write to them.
void* Pointer(std::string_view bytes) {
  return const_cast<char*>(bytes.data());
}

}  // namespace

StatusOr<ProducerTopics::Topic*> ProducerTopics::Find(std::string_view name) {
  Topic* topic = nullptr;
  {
    const MutexLock lock(mu_);
    const auto found = topics_.find(name);
    if (found != topics_.end()) topic = found->second.get();
  }
  if (topic != nullptr && topic->partitions.load(std::memory_order_relaxed) > 0) return topic;

  MR_ASSIGN_OR_RETURN(const int32_t partitions, cluster_.PartitionCount(name));
  const MutexLock lock(mu_);
  std::unique_ptr<Topic>& entry = topics_[std::string(name)];
  if (entry == nullptr) {
    entry = std::make_unique<Topic>();
    entry->handle = rd_kafka_topic_new(producer_, cluster_.FullName(name).c_str(), nullptr);
    MR_CHECK(entry->handle != nullptr);
  }
  entry->partitions = partitions;
  return entry.get();
}

void ProducerTopics::Forget(const rd_kafka_topic_t* handle) {
  const MutexLock lock(mu_);
  for (auto& [name, topic] : topics_) {
    if (topic->handle != handle) continue;
    topic->partitions = 0;
    cluster_.ForgetTopic(name);
  }
}

Status ProducerTopics::Produce(const Topic& topic, const Record& record, uint64_t spread,
                               void* opaque) {
  const int32_t partitions = topic.partitions.load(std::memory_order_relaxed);
  int32_t partition = record.partition;
  if (partition < 0 && partitions > 0) {
    const uint64_t hash = record.key.empty() ? spread : Murmur2(record.key);
    partition = static_cast<int32_t>(hash % static_cast<uint64_t>(partitions));
  }
  if (partition < 0 || partition >= partitions) {
    return Error(StatusCode::kNotFound, "kafka: {} has no partition {}",
                 rd_kafka_topic_name(topic.handle), record.partition);
  }
  std::array<rd_kafka_vu_t, 8> fields;
  size_t count = 0;
  const auto add = [&](rd_kafka_vtype_t type) -> auto& {
    fields[count].vtype = type;
    return fields[count++].u;
  };
  add(RD_KAFKA_VTYPE_RKT).rkt = topic.handle;
  add(RD_KAFKA_VTYPE_PARTITION).i32 = partition;
  add(RD_KAFKA_VTYPE_MSGFLAGS).i = RD_KAFKA_MSG_F_COPY;
  add(RD_KAFKA_VTYPE_OPAQUE).ptr = opaque;
  add(RD_KAFKA_VTYPE_TIMESTAMP).i64 = cluster_.clock().NowMicros() / 1000;
  add(RD_KAFKA_VTYPE_VALUE).mem = {Pointer(record.value), record.value.size()};
  if (!record.key.empty()) {
    add(RD_KAFKA_VTYPE_KEY).mem = {Pointer(record.key), record.key.size()};
  }
  if (!record.meta.empty()) {
    add(RD_KAFKA_VTYPE_HEADER).header = {kMetaHeader, Pointer(record.meta),
                                         static_cast<ssize_t>(record.meta.size())};
  }
  rd_kafka_error_t* error = rd_kafka_produceva(producer_, fields.data(), count);
  if (error == nullptr) [[likely]]
    return OkStatus();
  const Status status = ToStatus(rd_kafka_error_code(error), rd_kafka_topic_name(topic.handle),
                                 rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
  return status;
}

}  // namespace millrace::event_log::kafka
