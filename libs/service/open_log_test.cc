#include "libs/service/open_log.h"

#include <catch2/catch.hpp>

#include <future>
#include <string>

#include "libs/event_log/local/test_folder.h"
#include "libs/pipeline/topology.h"

namespace millrace::service {
namespace {

Status Append(event_log::EventLog& log, std::string_view topic, const std::string& value) {
  const auto appender = *log.NewAppender();
  const event_log::TopicRecord record{topic, {.value = value, .partition = 0}};
  std::promise<Status> done;
  appender->Append({&record, 1}, [&done](Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

TEST_CASE("a full local log takes what its processor needs to start", "[open_log]") {
  event_log::TestFolder folder;
  settings::v1::EventLogSettings settings;
  settings.mutable_local()->set_quota_bytes(4 << 20);
  const auto open = [&] { return *OpenEventLog(settings, folder.path(), SystemClock()); };
  auto log = open();
  REQUIRE(EnsureSharedTopics(*log, settings).ok());
  REQUIRE(pipeline::EnsureChangelogs(*log, {.ingest_partitions = 4}).ok());
  const std::string event(4000, 'e');
  Status status;
  for (int i = 0; i < 2000 && status.ok(); ++i)
    status = Append(*log, event_log::kIngestTopic, event);
  REQUIRE(status.code() == StatusCode::kResourceExhausted);
  if (GENERATE(false, true)) {
    log.reset();
    log = open();
  }
  for (const auto topic : {event_log::kDedupTopic, event_log::kStateTopic}) {
    const Status fence = Append(*log, topic, "");
    INFO(topic << ": " << Message(fence));
    CHECK(fence.ok());
  }
}

TEST_CASE("settings say how much of the log destinations may use", "[open_log]") {
  settings::v1::EventLogSettings settings;
  CHECK(ShareOptionsOf(settings).default_bytes == 0);
  CHECK(ShareOptionsOf(settings).together == 0.7);
  settings.mutable_shares()->set_default_bytes(123);
  settings.mutable_shares()->set_together_percent(50);
  CHECK(ShareOptionsOf(settings).default_bytes == 123);
  CHECK(ShareOptionsOf(settings).together == 0.5);
  settings.mutable_shares()->set_together_percent(1000);
  CHECK(ShareOptionsOf(settings).together == 1.0);
}

}  // namespace
}  // namespace millrace::service
