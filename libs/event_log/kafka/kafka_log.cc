#include "libs/event_log/kafka/kafka_log.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "libs/event_log/kafka/admin.h"
#include "libs/event_log/kafka/appender.h"
#include "libs/event_log/kafka/cluster.h"
#include "libs/event_log/kafka/consumer.h"
#include "libs/event_log/kafka/read_trimmer.h"
#include "libs/event_log/kafka/transaction.h"

namespace millrace::event_log {
namespace {

using kafka::AdminOptions;
using kafka::Cluster;
using kafka::Event;
using kafka::kRequestMs;
using kafka::NewAdminOptions;
using kafka::Request;
using kafka::ToStatus;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPropagation{30};
constexpr std::chrono::milliseconds kPropagationStep{50};

rd_kafka_resp_err_t FirstTopicError(const rd_kafka_topic_result_t** results, size_t count) {
  return count == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_topic_result_error(results[0]);
}

class KafkaLog final : public EventLog {
 public:
  explicit KafkaLog(std::unique_ptr<Cluster> cluster)
      : cluster_(std::move(cluster)), trimmer_(*cluster_, cluster_->options().trim_interval) {}

  Status EnsureTopic(const std::string& topic, const TopicOptions& options) override {
    const StatusOr<int32_t> have = cluster_->FetchPartitionCount(topic);
    const std::string name = cluster_->FullName(topic);
    const kafka::TopicSettings settings = kafka::SettingsOf(options);
    if (have.ok()) {
      if (AsksNothing(options)) return OkStatus();
      MR_RETURN_IF_ERROR(kafka::AlterTopic(*cluster_, name, settings));
      trimmer_.Watch(topic, *have, options.readers);
      return OkStatus();
    }
    if (have.status().code() != StatusCode::kNotFound) return have.status();

    char reason[256];
    rd_kafka_NewTopic_t* request =
        rd_kafka_NewTopic_new(name.c_str(), options.partitions,
                              cluster_->options().replication_factor, reason, sizeof reason);
    if (request == nullptr)
      return Error(StatusCode::kInvalidArgument, "kafka: {}: {}", name, reason);
    for (const auto& [key, value] : settings) {
      rd_kafka_NewTopic_set_config(request, key.c_str(), value.c_str());
    }
    const AdminOptions admin = NewAdminOptions(*cluster_, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    const StatusOr<Event> answer =
        Request(*cluster_, "creating " + name, [&](rd_kafka_queue_t* queue) {
          rd_kafka_CreateTopics(cluster_->admin(), &request, 1, admin.get(), queue);
        });
    rd_kafka_NewTopic_destroy(request);
    MR_RETURN_IF_ERROR(answer.status());
    size_t count = 0;
    const rd_kafka_topic_result_t** results = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(answer->get()), &count);
    const rd_kafka_resp_err_t code = FirstTopicError(results, count);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
      return ToStatus(code, "creating " + name, rd_kafka_topic_result_error_string(results[0]));
    }
    MR_RETURN_IF_ERROR(WaitUntilShown(topic, true));
    trimmer_.Watch(topic, options.partitions, options.readers);
    return OkStatus();
  }

  Status DeleteTopic(const std::string& topic) override {
    trimmer_.Forget(topic);
    const std::string name = cluster_->FullName(topic);
    rd_kafka_DeleteTopic_t* request = rd_kafka_DeleteTopic_new(name.c_str());
    const AdminOptions admin = NewAdminOptions(*cluster_, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    const StatusOr<Event> answer =
        Request(*cluster_, "deleting " + name, [&](rd_kafka_queue_t* queue) {
          rd_kafka_DeleteTopics(cluster_->admin(), &request, 1, admin.get(), queue);
        });
    rd_kafka_DeleteTopic_destroy(request);
    MR_RETURN_IF_ERROR(answer.status());
    size_t count = 0;
    const rd_kafka_topic_result_t** results = rd_kafka_DeleteTopics_result_topics(
        rd_kafka_event_DeleteTopics_result(answer->get()), &count);
    const rd_kafka_resp_err_t code = FirstTopicError(results, count);
    cluster_->ForgetTopic(topic);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return OkStatus();
    MR_RETURN_IF_ERROR(ToStatus(code, "deleting " + name));
    return WaitUntilShown(topic, false);
  }

  Status Trim(const TopicPartition& partition, int64_t before_offset) override {
    MR_ASSIGN_OR_RETURN(const int32_t partitions, cluster_->FetchPartitionCount(partition.topic));
    const std::string name = cluster_->FullName(partition.topic);
    if (partition.partition < 0 || partition.partition >= partitions) {
      return Error(StatusCode::kNotFound, "kafka: {} has no partition {}", name,
                   partition.partition);
    }
    int64_t begin = 0;
    int64_t end = 0;
    MR_RETURN_IF_ERROR(
        ToStatus(rd_kafka_query_watermark_offsets(cluster_->admin(), name.c_str(),
                                                  partition.partition, &begin, &end, kRequestMs),
                 name));
    const int64_t before = std::min(before_offset, end);
    if (before <= begin) return OkStatus();
    const CommittedOffset offset{partition, before, ""};
    return kafka::DeleteRecords(*cluster_, {&offset, 1});
  }

  StatusOr<LogUsage> Usage() override { return LogUsage{}; }

  StatusOr<std::string> Id() override {
    char* const id = rd_kafka_clusterid(cluster_->admin(), kRequestMs);
    if (id == nullptr) return Error(StatusCode::kUnavailable, "kafka: the cluster has no id");
    // Two prefixes in a cluster are two logs.
    const std::string name = cluster_->FullName(id);
    rd_kafka_mem_free(cluster_->admin(), id);
    return name;
  }

  StatusOr<std::vector<PartitionInfo>> Describe(const std::string& topic) override {
    MR_ASSIGN_OR_RETURN(const int32_t partitions, cluster_->FetchPartitionCount(topic));
    const std::string name = cluster_->FullName(topic);
    std::vector<PartitionInfo> infos;
    for (int32_t partition = 0; partition < partitions; ++partition) {
      PartitionInfo& info = infos.emplace_back();
      info.partition = partition;
      MR_RETURN_IF_ERROR(ToStatus(
          rd_kafka_query_watermark_offsets(cluster_->admin(), name.c_str(), partition,
                                           &info.begin_offset, &info.end_offset, kRequestMs),
          name));
    }
    return infos;
  }

  StatusOr<std::vector<CommittedOffset>> Committed(const std::string& group,
                                                   const std::string& topic) override {
    // After a transaction has ended its offsets stay unstable until its markers are written.
    const auto deadline = steady_clock::now() + kPropagation;
    while (true) {
      StatusOr<std::vector<CommittedOffset>> committed = CommittedNow(group, topic);
      if (committed.ok() || !IsRetryable(committed.status()) || steady_clock::now() > deadline) {
        return committed;
      }
      std::this_thread::sleep_for(kPropagationStep);
    }
  }

  StatusOr<std::vector<std::string>> ListTopics() override {
    const rd_kafka_metadata_t* metadata = nullptr;
    MR_RETURN_IF_ERROR(ToStatus(
        rd_kafka_metadata(cluster_->admin(), 1, nullptr, &metadata, kRequestMs), "listing topics"));
    std::vector<std::string> topics;
    for (int i = 0; i < metadata->topic_cnt; ++i) {
      const rd_kafka_metadata_topic& topic = metadata->topics[i];
      std::string_view name;
      const bool internal = std::string_view(topic.topic).starts_with("__");
      if (topic.err == RD_KAFKA_RESP_ERR_NO_ERROR && !internal &&
          cluster_->Strip(topic.topic, &name)) {
        topics.emplace_back(name);
      }
    }
    rd_kafka_metadata_destroy(metadata);
    return topics;
  }

  StatusOr<std::unique_ptr<Appender>> NewAppender() override {
    return kafka::NewKafkaAppender(*cluster_);
  }
  StatusOr<std::unique_ptr<Consumer>> NewConsumer(const ConsumerOptions& options) override {
    return kafka::KafkaConsumer::Create(*cluster_, options);
  }
  StatusOr<std::unique_ptr<Transaction>> NewTransaction(const std::string& id) override {
    return kafka::NewKafkaTransaction(*cluster_, id);
  }

 private:
  StatusOr<std::vector<CommittedOffset>> CommittedNow(const std::string& group,
                                                      const std::string& topic) {
    MR_ASSIGN_OR_RETURN(const int32_t partitions, cluster_->PartitionCount(topic));
    std::vector<CommittedOffset> wanted;
    for (int32_t p = 0; p < partitions; ++p) wanted.push_back({{topic, p}, -1, ""});
    // An offset that an open transaction is about to move is not an answer.
    return kafka::GroupOffsets(*cluster_, group, wanted, true);
  }

  /// Brokers learn of a topic one after the other.
  Status WaitUntilShown(const std::string& topic, bool shown) {
    const auto deadline = steady_clock::now() + kPropagation;
    while (true) {
      const StatusOr<int32_t> count = cluster_->FetchPartitionCount(topic);
      if (shown && count.ok()) return OkStatus();
      if (!shown && count.status().code() == StatusCode::kNotFound) return OkStatus();
      if (steady_clock::now() > deadline) {
        return Error(StatusCode::kUnavailable, "kafka: {} did not {} in time", topic,
                     shown ? "appear" : "go");
      }
      std::this_thread::sleep_for(kPropagationStep);
    }
  }

  std::unique_ptr<Cluster> cluster_;
  kafka::ReadTrimmer trimmer_;
};

}  // namespace

StatusOr<std::unique_ptr<EventLog>> OpenKafkaLog(const KafkaLogOptions& options) {
  MR_ASSIGN_OR_RETURN(std::unique_ptr<Cluster> cluster, Cluster::Open(options));
  return std::make_unique<KafkaLog>(std::move(cluster));
}

}  // namespace millrace::event_log
