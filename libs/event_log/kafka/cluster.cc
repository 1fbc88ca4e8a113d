#include "libs/event_log/kafka/cluster.h"

#include <cstdlib>
#include <cstring>

#include "libs/base/log.h"

namespace millrace::event_log::kafka {
namespace {

constexpr int kConnectTimeoutMs = 8'000;
constexpr int kMetadataTimeoutMs = 10'000;
constexpr int kSyslogError = 3;
constexpr int kSyslogWarning = 4;

void WriteLog(const rd_kafka_t* /*client*/, int level, const char* facility, const char* message) {
  const std::string_view name = facility;
  // FAIL repeats every reconnect; CONFWARN says that a property is meant for the other kind of
  // client.
  if (level > kSyslogWarning || name == "FAIL" || name == "CONFWARN") {
    log::Debug("kafka: {}: {}", name, message);
  } else if (level < kSyslogError) {
    log::Error("kafka: {}: {}", name, message);
  } else {
    log::Warning("kafka: {}: {}", name, message);
  }
}

Status Set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  char reason[512];
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), reason, sizeof reason) ==
      RD_KAFKA_CONF_OK) {
    return OkStatus();
  }
  return Error(StatusCode::kInvalidArgument, "kafka property {}: {}", name, reason);
}

Status SetAll(rd_kafka_conf_t* conf, rd_kafka_type_t type, const KafkaLogOptions& options,
              const Settings& settings) {
  Settings all = {{"bootstrap.servers", options.brokers},
                  {"client.id", "millrace"},
                  {"allow.auto.create.topics", "false"},
                  {"reconnect.backoff.max.ms", "1000"},
                  {"socket.nagle.disable", "true"}};
  if (type == RD_KAFKA_PRODUCER) {
    all.insert(all.end(), {{"enable.idempotence", "true"}, {"acks", "all"}});
  }
  all.insert(all.end(), settings.begin(), settings.end());
  all.insert(all.end(), options.properties.begin(), options.properties.end());
  for (const auto& [name, value] : all) MR_RETURN_IF_ERROR(Set(conf, name, value));
  return OkStatus();
}

}  // namespace

Status ToStatus(rd_kafka_resp_err_t code, std::string_view what, std::string_view detail) {
  const auto make = [&](StatusCode status) {
    return Error(status, "kafka: {}: {}", what, detail.empty() ? rd_kafka_err2str(code) : detail);
  };
  switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return OkStatus();
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
      return make(StatusCode::kInvalidArgument);
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
      return make(StatusCode::kNotFound);
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
      return make(StatusCode::kResourceExhausted);
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
      return make(StatusCode::kFailedPrecondition);
    default:
      return make(StatusCode::kUnavailable);
  }
}

StatusOr<std::unique_ptr<Cluster>> Cluster::Open(const KafkaLogOptions& options) {
  std::unique_ptr<Cluster> cluster(new Cluster(options));
  if (cluster->options_.clock == nullptr) cluster->options_.clock = &SystemClock();
  // Silent until it has connected: the caller reports a failure, in one line.
  MR_ASSIGN_OR_RETURN(cluster->admin_, cluster->NewHandle(RD_KAFKA_PRODUCER, {{"log_level", "0"}}));
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t code =
      rd_kafka_metadata(cluster->admin(), 0, nullptr, &metadata, kConnectTimeoutMs);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return Error(
        StatusCode::kUnavailable,
        "no Kafka broker of \"{}\" answers: {}; start one, or correct event_log.kafka.brokers",
        options.brokers, rd_kafka_err2str(code));
  }
  rd_kafka_metadata_destroy(metadata);
  rd_kafka_set_log_level(cluster->admin(), kSyslogWarning);
  return cluster;
}

StatusOr<Handle> Cluster::NewHandle(rd_kafka_type_t type, const Settings& settings,
                                    const std::function<void(rd_kafka_conf_t*)>& configure) const {
  std::unique_ptr<rd_kafka_conf_t, void (*)(rd_kafka_conf_t*)> conf(rd_kafka_conf_new(),
                                                                    rd_kafka_conf_destroy);
  rd_kafka_conf_set_log_cb(conf.get(), WriteLog);
  MR_RETURN_IF_ERROR(SetAll(conf.get(), type, options_, settings));
  if (configure) configure(conf.get());
  char reason[512];
  rd_kafka_t* client = rd_kafka_new(type, conf.get(), reason, sizeof reason);
  if (client == nullptr) {
    return Error(StatusCode::kInvalidArgument, "kafka client: {}", reason);
  }
  conf.release();  // NOLINT(bugprone-unused-return-value): the client owns it now
  return Handle(client, rd_kafka_destroy);
}

bool Cluster::Strip(std::string_view full_name, std::string_view* name) const {
  if (!full_name.starts_with(options_.prefix)) return false;
  *name = full_name.substr(options_.prefix.size());
  return true;
}

StatusOr<int32_t> Cluster::PartitionCount(std::string_view topic) {
  {
    const MutexLock lock(mu_);
    const auto found = partition_counts_.find(topic);
    if (found != partition_counts_.end()) return found->second;
  }
  return FetchPartitionCount(topic);
}

StatusOr<int32_t> Cluster::FetchPartitionCount(std::string_view topic) {
  const std::string full_name = FullName(topic);
  rd_kafka_topic_t* handle = rd_kafka_topic_new(admin(), full_name.c_str(), nullptr);
  if (handle == nullptr) return ToStatus(rd_kafka_last_error(), full_name);
  const rd_kafka_metadata_t* metadata = nullptr;
  rd_kafka_resp_err_t code = rd_kafka_metadata(admin(), 0, handle, &metadata, kMetadataTimeoutMs);
  rd_kafka_topic_destroy(handle);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return ToStatus(code, full_name);
  int32_t count = 0;
  code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  if (metadata->topic_cnt == 1) {
    code = metadata->topics[0].err;
    count = metadata->topics[0].partition_cnt;
  }
  rd_kafka_metadata_destroy(metadata);
  MR_RETURN_IF_ERROR(ToStatus(code, full_name));
  if (count == 0)
    return Error(StatusCode::kUnavailable, "kafka: {} has no partitions yet", full_name);
  const MutexLock lock(mu_);
  partition_counts_[std::string(topic)] = count;
  return count;
}

void Cluster::ForgetTopic(std::string_view topic) {
  const MutexLock lock(mu_);
  const auto found = partition_counts_.find(topic);
  if (found != partition_counts_.end()) partition_counts_.erase(found);
}

PartitionList Cluster::ToList(std::span<const CommittedOffset> offsets) const {
  PartitionList list = NewPartitionList(offsets.size());
  for (const CommittedOffset& offset : offsets) {
    rd_kafka_topic_partition_t* entry = rd_kafka_topic_partition_list_add(
        list.get(), FullName(offset.partition.topic).c_str(), offset.partition.partition);
    entry->offset = offset.offset;
    if (offset.metadata.empty()) continue;
    // librdkafka frees it with free().
    entry->metadata = std::malloc(offset.metadata.size());
    MR_CHECK(entry->metadata != nullptr);
    std::memcpy(entry->metadata, offset.metadata.data(), offset.metadata.size());
    entry->metadata_size = offset.metadata.size();
  }
  return list;
}

std::vector<CommittedOffset> Cluster::FromList(const rd_kafka_topic_partition_list_t& list) const {
  std::vector<CommittedOffset> offsets;
  offsets.reserve(static_cast<size_t>(list.cnt));
  for (const rd_kafka_topic_partition_t& entry :
       std::span(list.elems, static_cast<size_t>(list.cnt))) {
    std::string_view name = entry.topic;
    Strip(entry.topic, &name);
    CommittedOffset& offset = offsets.emplace_back();
    offset.partition = {std::string(name), entry.partition};
    offset.offset = entry.offset >= 0 ? entry.offset : -1;
    if (entry.metadata_size > 0) {
      offset.metadata.assign(static_cast<const char*>(entry.metadata), entry.metadata_size);
    }
  }
  return offsets;
}

}  // namespace millrace::event_log::kafka
