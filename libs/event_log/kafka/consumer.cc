#include "libs/event_log/kafka/consumer.h"

#include <algorithm>
#include <chrono>

#include "libs/base/ids.h"
#include "libs/base/log.h"
#include "libs/event_log/kafka/header.h"

namespace millrace::event_log::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kCommittedTimeoutMs = 20'000;
constexpr int kSeekTimeoutMs = 10'000;
constexpr milliseconds kWaitSlice{1000};

int64_t StartOffset(int64_t offset) {
  if (offset == -1) return RD_KAFKA_OFFSET_BEGINNING;
  return offset == -2 ? RD_KAFKA_OFFSET_END : offset;
}

struct Messages {
  Messages() = default;
  Messages(const Messages&) = delete;
  Messages& operator=(const Messages&) = delete;
  ~Messages() { Clear(); }
  void Clear() {
    for (rd_kafka_message_t* message : all) rd_kafka_message_destroy(message);
    all.clear();
  }
  Handle client;  // outlives its messages
  std::vector<rd_kafka_message_t*> all;
};

std::string_view MetaOf(const rd_kafka_message_t& message) {
  rd_kafka_headers_t* headers = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
      rd_kafka_header_get_last(headers, kMetaHeader, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return {};
  }
  return {static_cast<const char*>(value), size};
}

RecordBatch ToBatch(const Cluster& cluster, std::shared_ptr<Messages> messages) {
  RecordBatch batch;
  batch.records.reserve(messages->all.size());
  const rd_kafka_topic_t* topic = nullptr;
  uint32_t source = 0;
  for (const rd_kafka_message_t* message : messages->all) {
    if (topic != message->rkt || batch.sources[source].partition != message->partition) {
      topic = message->rkt;
      std::string_view name = rd_kafka_topic_name(topic);
      cluster.Strip(name, &name);
      const auto found = std::ranges::find_if(batch.sources, [&](const TopicPartition& known) {
        return known.partition == message->partition && known.topic == name;
      });
      source = static_cast<uint32_t>(found - batch.sources.begin());
      if (found == batch.sources.end())
        batch.sources.push_back({std::string(name), message->partition});
    }
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const int64_t appended_at_ms = rd_kafka_message_timestamp(message, &type);
    batch.records.push_back({.source = source,
                             .offset = message->offset,
                             .appended_at_us = appended_at_ms < 0 ? 0 : appended_at_ms * 1000,
                             .key = {static_cast<const char*>(message->key), message->key_len},
                             .meta = MetaOf(*message),
                             .value = {static_cast<const char*>(message->payload), message->len}});
  }
  batch.owner = std::move(messages);
  return batch;
}

Status FirstError(const rd_kafka_topic_partition_list_t& list, std::string_view what) {
  for (const rd_kafka_topic_partition_t& entry :
       std::span(list.elems, static_cast<size_t>(list.cnt))) {
    MR_RETURN_IF_ERROR(ToStatus(entry.err, what));
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::unique_ptr<Consumer>> KafkaConsumer::Create(Cluster& cluster,
                                                          const ConsumerOptions& options) {
  std::unique_ptr<KafkaConsumer> consumer(new KafkaConsumer(cluster, options));
  // librdkafka wants a group even where none is joined.
  const std::string group = options.group.empty() ? "reader-" + NewUuid() : options.group;
  Settings settings = {
      {"group.id", cluster.FullName(group)}, {"partition.assignment.strategy", "range"},
      {"isolation.level", "read_committed"}, {"auto.offset.reset", "earliest"},
      {"enable.auto.commit", "false"},       {"enable.auto.offset.store", "false"},
      {"session.timeout.ms", "10000"},       {"heartbeat.interval.ms", "1000"},
      {"fetch.error.backoff.ms", "50"},      {"queued.max.messages.kbytes", "16384"}};
  if (!options.instance.empty()) settings.emplace_back("group.instance.id", options.instance);
  MR_ASSIGN_OR_RETURN(consumer->client_,
                      cluster.NewHandle(RD_KAFKA_CONSUMER, settings, [&](rd_kafka_conf_t* conf) {
                        rd_kafka_conf_set_opaque(conf, consumer.get());
                        rd_kafka_conf_set_rebalance_cb(conf, OnRebalance);
                      }));
  rd_kafka_poll_set_consumer(consumer->client());
  consumer->queue_.reset(rd_kafka_queue_get_consumer(consumer->client()));
  return consumer;
}

KafkaConsumer::~KafkaConsumer() {
  options_.listener = nullptr;  // its owner is letting go of the consumer
  queue_.reset();
  rd_kafka_consumer_close(client());
}

Status KafkaConsumer::Subscribe(std::vector<std::string> topics) {
  if (options_.group.empty()) {
    return Error(StatusCode::kInvalidArgument, "kafka: Subscribe needs a group");
  }
  std::vector<std::string> names;
  PartitionList list = NewPartitionList(topics.size());
  for (const std::string& topic : topics) {
    MR_RETURN_IF_ERROR(cluster_.PartitionCount(topic).status());
    names.push_back(cluster_.FullName(topic));
    rd_kafka_topic_partition_list_add(list.get(), names.back().c_str(), RD_KAFKA_PARTITION_UA);
  }
  topics_ = std::move(names);
  return ToStatus(rd_kafka_subscribe(client(), list.get()), "subscribe");
}

Status KafkaConsumer::Assign(std::span<const CommittedOffset> positions) {
  if (!options_.group.empty()) {
    return Error(StatusCode::kInvalidArgument, "kafka: Assign is for consumers outside groups");
  }
  owned_.clear();
  paused_.clear();
  for (const CommittedOffset& position : positions) owned_.insert(position.partition);
  return StartReading(positions);
}

Status KafkaConsumer::StartReading(std::span<const CommittedOffset> positions) {
  PartitionList list = NewPartitionList(positions.size());
  for (const CommittedOffset& position : positions) {
    rd_kafka_topic_partition_list_add(list.get(),
                                      cluster_.FullName(position.partition.topic).c_str(),
                                      position.partition.partition)
        ->offset = StartOffset(position.offset);
  }
  MR_RETURN_IF_ERROR(ToStatus(rd_kafka_assign(client(), list.get()), "assign"));
  for (const TopicPartition& partition : paused_) Pause(partition);
  return OkStatus();
}

rd_kafka_message_t* KafkaConsumer::NextMessage(const PollLimits& limits) {
  const auto deadline = steady_clock::now() + limits.timeout;
  while (!woken_.exchange(false)) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    const auto slice = std::clamp(left, milliseconds(0), kWaitSlice);
    rd_kafka_message_t* message = rd_kafka_consumer_poll(client(), static_cast<int>(slice.count()));
    if (message != nullptr) return message;
    if (left <= slice || !rebalance_status_.ok()) break;
  }
  return nullptr;
}

StatusOr<RecordBatch> KafkaConsumer::Poll(const PollLimits& limits) {
  auto messages = std::make_shared<Messages>();
  messages->client = client_;
  size_t bytes = 0;
  revoked_ = false;
  rd_kafka_message_t* message = NextMessage(limits);
  for (; message != nullptr; message = rd_kafka_consumer_poll(client(), 0)) {
    if (revoked_) {  // before this message, which came after it
      messages->Clear();
      bytes = 0;
      revoked_ = false;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      const Status status = HandleError(*message);
      rd_kafka_message_destroy(message);
      // What was read before the error is not lost: reading goes on from the committed offsets.
      MR_RETURN_IF_ERROR(status);
      continue;
    }
    messages->all.push_back(message);
    bytes += message->len + message->key_len;
    if (messages->all.size() >= limits.max_records || bytes >= limits.max_bytes) break;
  }
  if (revoked_) messages->Clear();
  if (!rebalance_status_.ok()) {
    Status status = std::exchange(rebalance_status_, OkStatus());
    PartitionList list = NewPartitionList(topics_.size());
    for (const std::string& topic : topics_) {
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
    }
    rd_kafka_unsubscribe(client());
    rd_kafka_subscribe(client(), list.get());
    return status;
  }
  return ToBatch(cluster_, std::move(messages));
}

Status KafkaConsumer::HandleError(const rd_kafka_message_t& message) {
  if (message.err == RD_KAFKA_RESP_ERR__FATAL) {
    char reason[512];
    rd_kafka_fatal_error(client(), reason, sizeof reason);
    return ToStatus(message.err, options_.group, reason);
  }
  // The client goes on by itself: it joins anew, or reads the topics that are there.
  log::Warning("kafka: group {}: {}", options_.group, rd_kafka_message_errstr(&message));
  return OkStatus();
}

void KafkaConsumer::OnRebalance(rd_kafka_t* /*client*/, rd_kafka_resp_err_t code,
                                rd_kafka_topic_partition_list_t* partitions, void* opaque) {
  auto* self = static_cast<KafkaConsumer*>(opaque);
  if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    self->TakeOver(*partitions);
  } else {
    self->GiveUp();
  }
}

void KafkaConsumer::TakeOver(const rd_kafka_topic_partition_list_t& partitions) {
  if (options_.listener == nullptr) {
    owned_.clear();
    for (const CommittedOffset& entry : cluster_.FromList(partitions))
      owned_.insert(entry.partition);
    rd_kafka_assign(client(), &partitions);  // reads the committed offsets by itself
    return;
  }
  StatusOr<std::vector<CommittedOffset>> committed = FetchCommitted(partitions);
  if (!committed.ok()) {
    rebalance_status_ = committed.status();
    rd_kafka_assign(client(), nullptr);
    return;
  }
  std::map<TopicPartition, int64_t> positions;
  owned_.clear();
  for (const CommittedOffset& entry : *committed) {
    positions[entry.partition] = entry.offset;
    owned_.insert(entry.partition);
  }
  taking_over_ = &positions;
  options_.listener->OnAssigned(*committed);
  taking_over_ = nullptr;
  std::vector<CommittedOffset> starts;
  for (const auto& [partition, offset] : positions) starts.push_back({partition, offset, {}});
  rebalance_status_ = StartReading(starts);
}

StatusOr<std::vector<CommittedOffset>> KafkaConsumer::FetchCommitted(
    const rd_kafka_topic_partition_list_t& partitions) {
  const PartitionList list(rd_kafka_topic_partition_list_copy(&partitions));
  MR_RETURN_IF_ERROR(ToStatus(rd_kafka_committed(client(), list.get(), kCommittedTimeoutMs),
                              "reading committed offsets"));
  MR_RETURN_IF_ERROR(FirstError(*list, "reading committed offsets"));
  return cluster_.FromList(*list);
}

void KafkaConsumer::GiveUp() {
  if (options_.listener != nullptr && !owned_.empty()) {
    options_.listener->OnRevoked(std::vector<TopicPartition>(owned_.begin(), owned_.end()));
  }
  owned_.clear();
  paused_.clear();
  revoked_ = true;
  rd_kafka_assign(client(), nullptr);
}

void KafkaConsumer::Pause(const TopicPartition& partition) {
  if (!owned_.contains(partition)) return;
  paused_.insert(partition);
  if (taking_over_ != nullptr) return;  // StartReading does it
  const CommittedOffset entry{partition, RD_KAFKA_OFFSET_INVALID, {}};
  rd_kafka_pause_partitions(client(), cluster_.ToList({&entry, 1}).get());
}

void KafkaConsumer::Resume(const TopicPartition& partition) {
  if (paused_.erase(partition) == 0 || taking_over_ != nullptr) return;
  const CommittedOffset entry{partition, RD_KAFKA_OFFSET_INVALID, {}};
  rd_kafka_resume_partitions(client(), cluster_.ToList({&entry, 1}).get());
}

Status KafkaConsumer::Seek(const TopicPartition& partition, int64_t offset) {
  if (!owned_.contains(partition)) {
    return Error(StatusCode::kFailedPrecondition, "kafka: seek: partition {} of {} is not assigned",
                 partition.partition, partition.topic);
  }
  if (taking_over_ != nullptr) {
    (*taking_over_)[partition] = offset;
    return OkStatus();
  }
  const CommittedOffset entry{partition, StartOffset(offset), {}};
  const PartitionList list = cluster_.ToList({&entry, 1});
  rd_kafka_error_t* error = rd_kafka_seek_partitions(client(), list.get(), kSeekTimeoutMs);
  if (error == nullptr) return FirstError(*list, "seek");
  const Status status = ToStatus(rd_kafka_error_code(error), "seek", rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
  return status;
}

Status KafkaConsumer::CheckOwned(std::span<const CommittedOffset> offsets) const {
  for (const CommittedOffset& offset : offsets) {
    if (!options_.group.empty() && owned_.contains(offset.partition)) continue;
    return Error(StatusCode::kFailedPrecondition,
                 "kafka: partition {} of {} is not this consumer's", offset.partition.partition,
                 offset.partition.topic);
  }
  return OkStatus();
}

Status KafkaConsumer::Commit(std::span<const CommittedOffset> offsets) {
  if (offsets.empty()) return OkStatus();
  MR_RETURN_IF_ERROR(CheckOwned(offsets));
  const PartitionList list = cluster_.ToList(offsets);
  MR_RETURN_IF_ERROR(ToStatus(rd_kafka_commit(client(), list.get(), 0), "commit"));
  return FirstError(*list, "commit");
}

void KafkaConsumer::Wake() {
  woken_ = true;
  rd_kafka_queue_yield(queue_.get());
}

}  // namespace millrace::event_log::kafka
