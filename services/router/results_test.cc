#include "services/router/results.h"

#include <catch2/catch.hpp>

namespace millrace::router {
namespace {

// A Kafka broker takes records of 1 MB unless told otherwise; one that it refuses would be tried
// for ever.
constexpr size_t kBrokerTakes = 1'000'000;

TEST_CASE("However much was delivered since the last commit, its records stay small", "[results]") {
  Results results;
  delivery::v1::DeliveryMeta meta;
  meta.set_workspace_id("w");
  meta.set_destination_id("d");
  meta.set_source_id("s");
  meta.set_message_id(std::string(4096, 'm'));
  constexpr int kEvents = 20'000;
  for (int i = 0; i < kEvents; ++i) {
    results.AddFinal(meta, delivery::v1::DELIVERED, 200, 1, i, std::string(5000, 'r'), "");
  }
  int statuses = 0;
  int64_t counted = 0;
  for (const OwnedRecord& record : results.Take(1)) {
    CHECK(record.value.size() < kBrokerTakes);
    if (record.topic == event_log::kDeliveryStatusTopic) {
      delivery::v1::DeliveryStatusBatch batch;
      REQUIRE(batch.ParseFromString(record.value));
      CHECK(batch.workspace_id() == "w");
      statuses += batch.statuses_size();
    } else {
      accounting::v1::Counters counters;
      REQUIRE(counters.ParseFromString(record.value));
      for (const auto& count : counters.counts()) counted += count.count();
    }
  }
  CHECK(statuses == kEvents);
  CHECK(counted == kEvents);
  CHECK(results.empty());
  CHECK(results.Take(2).empty());
}

}  // namespace
}  // namespace millrace::router
