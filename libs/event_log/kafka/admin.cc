#include "libs/event_log/kafka/admin.h"

#include <algorithm>
#include <span>

namespace millrace::event_log::kafka {
namespace {

struct ConfigResourceDeleter {
  void operator()(rd_kafka_ConfigResource_t* resource) const {
    rd_kafka_ConfigResource_destroy(resource);
  }
};
using ConfigResource = std::unique_ptr<rd_kafka_ConfigResource_t, ConfigResourceDeleter>;

struct DeleteRecordsDeleter {
  void operator()(rd_kafka_DeleteRecords_t* request) const {
    rd_kafka_DeleteRecords_destroy(request);
  }
};

ConfigResource ResourceOf(const std::string& topic) {
  return ConfigResource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
}

Status ErrorOf(const rd_kafka_ConfigResource_t& resource, std::string_view what) {
  const rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(&resource);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return OkStatus();
  const char* const detail = rd_kafka_ConfigResource_error_string(&resource);
  return ToStatus(code, what, detail == nullptr ? "" : detail);
}

/// What was set for this topic itself.
StatusOr<TopicSettings> SettingsNow(const Cluster& cluster, const std::string& topic) {
  const std::string what = "settings of " + topic;
  const ConfigResource resource = ResourceOf(topic);
  rd_kafka_ConfigResource_t* request = resource.get();
  const AdminOptions admin = NewAdminOptions(cluster, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
  MR_ASSIGN_OR_RETURN(const Event answer, Request(cluster, what, [&](rd_kafka_queue_t* queue) {
                        rd_kafka_DescribeConfigs(cluster.admin(), &request, 1, admin.get(), queue);
                      }));
  size_t count = 0;
  const rd_kafka_ConfigResource_t** const resources = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(answer.get()), &count);
  MR_CHECK(count == 1);
  MR_RETURN_IF_ERROR(ErrorOf(*resources[0], what));
  const rd_kafka_ConfigEntry_t** const entries =
      rd_kafka_ConfigResource_configs(resources[0], &count);
  TopicSettings settings;
  for (const rd_kafka_ConfigEntry_t* entry : std::span(entries, count)) {
    const char* const value = rd_kafka_ConfigEntry_value(entry);
    if (value != nullptr &&
        rd_kafka_ConfigEntry_source(entry) == RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG) {
      settings[rd_kafka_ConfigEntry_name(entry)] = value;
    }
  }
  return settings;
}

}  // namespace

AdminOptions NewAdminOptions(const Cluster& cluster, rd_kafka_admin_op_t operation) {
  AdminOptions options(rd_kafka_AdminOptions_new(cluster.admin(), operation));
  char reason[256];
  rd_kafka_AdminOptions_set_request_timeout(options.get(), kRequestMs, reason, sizeof reason);
  return options;
}

StatusOr<Event> Request(const Cluster& cluster, std::string_view what,
                        const std::function<void(rd_kafka_queue_t*)>& send) {
  const Queue queue(rd_kafka_queue_new(cluster.admin()));
  send(queue.get());
  Event event(rd_kafka_queue_poll(queue.get(), kRequestMs + 1000));
  if (event == nullptr) return Error(StatusCode::kUnavailable, "kafka: {}: no answer", what);
  MR_RETURN_IF_ERROR(
      ToStatus(rd_kafka_event_error(event.get()), what, rd_kafka_event_error_string(event.get())));
  return event;
}

TopicSettings SettingsOf(const TopicOptions& options) {
  const bool by_age = options.readers.empty() && options.retention.count() > 0;
  return {{"retention.bytes", "-1"},
          {"retention.ms", by_age ? std::to_string(options.retention.count()) : "-1"}};
}

Status AlterTopic(const Cluster& cluster, const std::string& full_name,
                  const TopicSettings& settings) {
  MR_ASSIGN_OR_RETURN(TopicSettings all, SettingsNow(cluster, full_name));
  // The request replaces all settings: those that are not ours are said again.
  const TopicSettings before = all;
  for (const auto& [name, value] : settings) all[name] = value;
  if (all == before) return OkStatus();
  const ConfigResource resource = ResourceOf(full_name);
  for (const auto& [name, value] : all) {
    rd_kafka_ConfigResource_set_config(resource.get(), name.c_str(), value.c_str());
  }
  const std::string what = "altering " + full_name;
  rd_kafka_ConfigResource_t* request = resource.get();
  const AdminOptions admin = NewAdminOptions(cluster, RD_KAFKA_ADMIN_OP_ALTERCONFIGS);
  MR_ASSIGN_OR_RETURN(const Event answer, Request(cluster, what, [&](rd_kafka_queue_t* queue) {
                        rd_kafka_AlterConfigs(cluster.admin(), &request, 1, admin.get(), queue);
                      }));
  size_t count = 0;
  const rd_kafka_ConfigResource_t** const resources = rd_kafka_AlterConfigs_result_resources(
      rd_kafka_event_AlterConfigs_result(answer.get()), &count);
  MR_CHECK(count == 1);
  return ErrorOf(*resources[0], what);
}

Status DeleteRecords(const Cluster& cluster, std::span<const CommittedOffset> before) {
  const std::string what = "trimming topics";
  const PartitionList offsets = cluster.ToList(before);
  const std::unique_ptr<rd_kafka_DeleteRecords_t, DeleteRecordsDeleter> owned(
      rd_kafka_DeleteRecords_new(offsets.get()));
  rd_kafka_DeleteRecords_t* request = owned.get();
  const AdminOptions admin = NewAdminOptions(cluster, RD_KAFKA_ADMIN_OP_DELETERECORDS);
  MR_ASSIGN_OR_RETURN(const Event answer, Request(cluster, what, [&](rd_kafka_queue_t* queue) {
                        rd_kafka_DeleteRecords(cluster.admin(), &request, 1, admin.get(), queue);
                      }));
  const rd_kafka_topic_partition_list_t* const results =
      rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(answer.get()));
  for (const rd_kafka_topic_partition_t& result :
       std::span(results->elems, static_cast<size_t>(results->cnt))) {
    const Status status = ToStatus(result.err, what, result.topic);
    const bool absent = status.code() == StatusCode::kNotFound ||
                        result.err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    if (!absent) MR_RETURN_IF_ERROR(status);
  }
  return OkStatus();
}

StatusOr<std::vector<CommittedOffset>> GroupOffsets(const Cluster& cluster,
                                                    const std::string& group,
                                                    std::span<const CommittedOffset> partitions,
                                                    bool stable) {
  const std::string name = cluster.FullName(group);
  const PartitionList list = cluster.ToList(partitions);
  rd_kafka_ListConsumerGroupOffsets_t* request =
      rd_kafka_ListConsumerGroupOffsets_new(name.c_str(), list.get());
  const AdminOptions admin = NewAdminOptions(cluster, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
  rd_kafka_error_t* refused =
      rd_kafka_AdminOptions_set_require_stable_offsets(admin.get(), stable ? 1 : 0);
  MR_CHECK(refused == nullptr);
  const std::string what = "offsets of group " + name;
  const StatusOr<Event> answer = Request(cluster, what, [&](rd_kafka_queue_t* queue) {
    rd_kafka_ListConsumerGroupOffsets(cluster.admin(), &request, 1, admin.get(), queue);
  });
  rd_kafka_ListConsumerGroupOffsets_destroy(request);
  MR_RETURN_IF_ERROR(answer.status());
  size_t count = 0;
  const rd_kafka_group_result_t** results = rd_kafka_ListConsumerGroupOffsets_result_groups(
      rd_kafka_event_ListConsumerGroupOffsets_result(answer->get()), &count);
  MR_CHECK(count == 1);
  const rd_kafka_error_t* error = rd_kafka_group_result_error(results[0]);
  if (error != nullptr) {
    return ToStatus(rd_kafka_error_code(error), what, rd_kafka_error_string(error));
  }
  const rd_kafka_topic_partition_list_t* offsets = rd_kafka_group_result_partitions(results[0]);
  for (const rd_kafka_topic_partition_t& offset :
       std::span(offsets->elems, static_cast<size_t>(offsets->cnt))) {
    const Status status = ToStatus(offset.err, what);
    if (status.code() != StatusCode::kNotFound) MR_RETURN_IF_ERROR(status);
  }
  std::vector<CommittedOffset> committed = cluster.FromList(*offsets);
  std::ranges::sort(committed, {}, &CommittedOffset::partition);
  return committed;
}

}  // namespace millrace::event_log::kafka
