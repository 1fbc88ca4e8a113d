#include "libs/event_log/kafka/kafka_log.h"

#include <catch2/catch.hpp>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <algorithm>
#include <future>

namespace millrace::event_log {
namespace {

constexpr int16_t kProduceApi = 0;

/// librdkafka's own imitation of a cluster, which errors can be put into. It cannot create topics.
class MockCluster {
 public:
  explicit MockCluster(int brokers) {
    client_ = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), nullptr, 0);
    cluster_ = rd_kafka_mock_cluster_new(client_, brokers);
    rd_kafka_mock_topic_create(cluster_, "test.events", 4, brokers);
  }
  MockCluster(const MockCluster&) = delete;
  MockCluster& operator=(const MockCluster&) = delete;
  ~MockCluster() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(client_);
  }
  KafkaLogOptions Options() const {
    return {.brokers = rd_kafka_mock_cluster_bootstraps(cluster_), .prefix = "test."};
  }
  std::unique_ptr<EventLog> Open(const KafkaLogOptions& options) const {
    StatusOr<std::unique_ptr<EventLog>> log = OpenKafkaLog(options);
    INFO(Message(log.status()));
    REQUIRE(log.ok());
    return *std::move(log);
  }
  rd_kafka_mock_cluster_t* get() { return cluster_; }

 private:
  rd_kafka_t* client_;
  rd_kafka_mock_cluster_t* cluster_;
};

Status AppendAndWait(Appender& appender, const std::vector<TopicRecord>& records) {
  std::promise<Status> answer;
  appender.Append(records, [&](Status status) { answer.set_value(std::move(status)); });
  return answer.get_future().get();
}

const std::vector<TopicRecord> kFour = {{"events", {.key = "a", .meta = "m", .value = "1"}},
                                        {"events", {.key = "b", .meta = "m", .value = "2"}},
                                        {"events", {.key = "c", .meta = "m", .value = "3"}},
                                        {"events", {.value = "4", .partition = 3}}};

}  // namespace

TEST_CASE("an absent broker is named", "[kafka]") {
  const auto log = OpenKafkaLog({.brokers = "127.0.0.1:1"});
  REQUIRE(log.status().code() == StatusCode::kUnavailable);
  CHECK(std::string(Message(log.status())).find("127.0.0.1:1") != std::string::npos);
}

TEST_CASE("a property that librdkafka does not know is named", "[kafka]") {
  const auto log = OpenKafkaLog({.brokers = "127.0.0.1:1", .properties = {{"no.such", "1"}}});
  REQUIRE(log.status().code() == StatusCode::kInvalidArgument);
  CHECK(std::string(Message(log.status())).find("no.such") != std::string::npos);
}

TEST_CASE("appends survive errors that pass", "[kafka]") {
  MockCluster cluster(3);
  const auto log = cluster.Open(cluster.Options());
  auto appender = log->NewAppender();
  REQUIRE(appender.ok());
  rd_kafka_mock_push_request_errors(
      cluster.get(), kProduceApi, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
  CHECK(AppendAndWait(**appender, kFour).ok());
}

TEST_CASE("appends survive the loss of a leader", "[kafka]") {
  MockCluster cluster(3);
  const auto log = cluster.Open(cluster.Options());
  auto appender = log->NewAppender();
  REQUIRE(appender.ok());
  REQUIRE(AppendAndWait(**appender, kFour).ok());
  rd_kafka_mock_broker_set_down(cluster.get(), 1);
  for (int32_t partition = 0; partition < 4; ++partition) {
    rd_kafka_mock_partition_set_leader(cluster.get(), "test.events", partition, 2 + partition % 2);
  }
  CHECK(AppendAndWait(**appender, kFour).ok());
}

TEST_CASE("appends that cannot be delivered in time say try again", "[kafka]") {
  MockCluster cluster(1);
  KafkaLogOptions options = cluster.Options();
  options.properties["message.timeout.ms"] = "300";
  const auto log = cluster.Open(options);
  auto appender = log->NewAppender();
  REQUIRE(appender.ok());
  REQUIRE(AppendAndWait(**appender, kFour).ok());
  rd_kafka_mock_broker_set_down(cluster.get(), 1);
  CHECK(AppendAndWait(**appender, kFour).code() == StatusCode::kUnavailable);
}

TEST_CASE("a full queue refuses, and destruction answers all", "[kafka]") {
  MockCluster cluster(1);
  KafkaLogOptions options = cluster.Options();
  options.properties["queue.buffering.max.messages"] = "5";
  options.properties["message.timeout.ms"] = "300";
  const auto log = cluster.Open(options);
  auto appender = log->NewAppender();
  REQUIRE(appender.ok());
  REQUIRE(AppendAndWait(**appender, kFour).ok());
  rd_kafka_mock_broker_set_down(cluster.get(), 1);
  std::vector<StatusCode> answers;
  for (int i = 0; i < 2; ++i) {
    (*appender)->Append(kFour, [&](const Status& status) { answers.push_back(status.code()); });
  }
  appender->reset();
  REQUIRE(answers.size() == 2);
  CHECK(std::count(answers.begin(), answers.end(), StatusCode::kUnavailable) == 1);
  CHECK(std::count(answers.begin(), answers.end(), StatusCode::kResourceExhausted) == 1);
}

TEST_CASE("a record over the limit is refused for good", "[kafka]") {
  MockCluster cluster(1);
  const auto log = cluster.Open(cluster.Options());
  auto appender = log->NewAppender();
  REQUIRE(appender.ok());
  const std::string large(2'000'000, 'x');
  CHECK(AppendAndWait(**appender, {{"events", {.value = large}}}).code() ==
        StatusCode::kInvalidArgument);
  CHECK(AppendAndWait(**appender, {{"events", {.value = "x", .partition = 9}}}).code() ==
        StatusCode::kNotFound);
  CHECK(AppendAndWait(**appender, {}).ok());
}

}  // namespace millrace::event_log
