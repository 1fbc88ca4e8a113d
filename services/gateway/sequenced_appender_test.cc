#include "services/gateway/sequenced_appender.h"

#include <catch2/catch.hpp>

#include <map>
#include <thread>

#include "libs/base/hash.h"
#include "millrace/event/v1/event.pb.h"

using namespace millrace;
using event_log::TopicRecord;
using gateway::SequencedAppender;

namespace {

// A log that keeps what it takes, by partition, and answers as it is told.
class Kept final : public event_log::Appender {
 public:
  struct State {
    std::map<int32_t, std::vector<event::v1::EventMeta>> partitions;
    Status answer;
    bool takes = true;
  };
  explicit Kept(State& state) : state_(state) {}
  void Append(std::span<const TopicRecord> records, event_log::Done done) override {
    for (const TopicRecord& one : records) {
      event::v1::EventMeta meta;
      REQUIRE(
          meta.ParseFromArray(one.record.meta.data(), static_cast<int>(one.record.meta.size())));
      if (state_.takes) state_.partitions[one.record.partition].push_back(meta);
    }
    done(state_.answer);
  }

 private:
  State& state_;
};

std::string MetaOf(const std::string& message_id) {
  event::v1::EventMeta meta;
  meta.set_message_id(message_id);
  meta.set_received_at_us(1);
  return meta.SerializeAsString();
}

void Append(SequencedAppender& appender, const std::vector<std::string>& keys) {
  std::vector<std::string> metas;
  std::vector<TopicRecord> records;
  metas.reserve(keys.size());
  for (const std::string& key : keys) {
    metas.push_back(MetaOf("id of " + key));
    records.push_back({"ingest", {.key = key, .meta = metas.back(), .value = "v"}});
  }
  appender.Append(records, [](const Status&) {});
}

std::vector<std::string> Keys(int count) {
  std::vector<std::string> keys;
  for (int i = 0; i < count; ++i) keys.push_back("user " + std::to_string(i));
  return keys;
}

}  // namespace

TEST_CASE("Each partition's records are numbered from 1 without a gap", "[gateway][sequence]") {
  Kept::State state;
  SequencedAppender appender(std::make_unique<Kept>(state),
                             {.gateway = "gw-0", .started_at_us = 77, .partitions = 5});
  Append(appender, Keys(100));
  Append(appender, Keys(40));
  REQUIRE(state.partitions.size() == 5);
  for (const auto& [partition, metas] : state.partitions) {
    for (size_t i = 0; i < metas.size(); ++i) {
      CHECK(metas[i].gateway_sequence() == i + 1);
      CHECK(metas[i].gateway() == "gw-0");
      CHECK(metas[i].gateway_started_at_us() == 77);
      CHECK(metas[i].gateway_refused() + metas[i].gateway_unknown() == 0);
      const std::string key = metas[i].message_id().substr(6);  // the rest is as it was
      CHECK(static_cast<int32_t>(Murmur2(key) % 5) == partition);
      CHECK(metas[i].received_at_us() == 1);
    }
  }
}

TEST_CASE("Numbers of an append that fails are told by the records behind it",
          "[gateway][sequence]") {
  struct Case {
    const char* name;
    Status answer;
    bool whole_appends;
    bool sure;
  };
  const auto c = GENERATE(values<Case>({
      {"full", MakeStatus(StatusCode::kResourceExhausted, "full"), true, true},
      {"too large", MakeStatus(StatusCode::kInvalidArgument, "large"), true, true},
      {"no topic", MakeStatus(StatusCode::kNotFound, "none"), true, true},
      {"the disk failed", MakeStatus(StatusCode::kUnavailable, "disk"), true, false},
      {"one of them was too much for Kafka", MakeStatus(StatusCode::kResourceExhausted, "full"),
       false, false},
      {"Kafka did not answer", MakeStatus(StatusCode::kUnavailable, "timeout"), false, false},
  }));
  CAPTURE(c.name);
  Kept::State state;
  SequencedAppender appender(std::make_unique<Kept>(state),
                             {.gateway = "g", .partitions = 1, .whole_appends = c.whole_appends});
  Append(appender, Keys(3));
  state.takes = false;
  state.answer = c.answer;
  Append(appender, Keys(4));
  Append(appender, Keys(1));
  state.takes = true;
  state.answer = OkStatus();
  Append(appender, Keys(2));
  const auto& metas = state.partitions[0];
  REQUIRE(metas.size() == 5);
  CHECK(metas[2].gateway_sequence() == 3);
  CHECK(metas[3].gateway_sequence() == 9);
  CHECK(metas[4].gateway_sequence() == 10);
  CHECK(metas[4].gateway_refused() == (c.sure ? 5 : 0));
  CHECK(metas[4].gateway_unknown() == (c.sure ? 0 : 5));
}

TEST_CASE("Appends of many threads keep the order of their numbers", "[gateway][sequence]") {
  Kept::State state;
  SequencedAppender appender(std::make_unique<Kept>(state), {.gateway = "g", .partitions = 3});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) Append(appender, Keys(7));
    });
  }
  for (std::thread& one : threads) one.join();
  size_t seen = 0;
  for (const auto& [partition, metas] : state.partitions) {
    for (size_t i = 0; i < metas.size(); ++i) {
      if (metas[i].gateway_sequence() != i + 1) FAIL(partition);
    }
    seen += metas.size();
  }
  CHECK(seen == 4 * 200 * 7);
}
