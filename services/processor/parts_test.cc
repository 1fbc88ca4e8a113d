#include "services/processor/parts.h"

#include <catch2/catch.hpp>

#include <string>

#include "services/processor/processor_fixture.h"

namespace millrace::processor {
namespace {

constexpr int kEvents = 30;
constexpr size_t kBound = 64 << 10;

/// `destinations` of source s1, which has the transformation `code` unless that is empty.
std::shared_ptr<config::v1::Workspace> WideWorkspace(int destinations, const std::string& code) {
  auto workspace = std::make_shared<config::v1::Workspace>();
  workspace->set_id("w1");
  auto& source = *workspace->add_sources();
  source.set_id("s1");
  if (!code.empty()) {
    AddTransformation(*workspace, "t1", code);
    source.add_transformations()->set_transformation_id("t1");
  }
  for (int i = 0; i < destinations; ++i) {
    auto& destination = *workspace->add_destinations();
    destination.set_id("d" + std::to_string(i));
    destination.set_type("WEBHOOK");
    destination.set_enabled(true);
    auto& connection = *workspace->add_connections();
    connection.set_source_id("s1");
    connection.set_destination_id(destination.id());
    connection.set_enabled(true);
  }
  return workspace;
}

void SendAll(Fixture& f) {
  for (int i = 0; i < kEvents; ++i) {
    const std::string text(4000, 'x');
    f.SendAs("user", "s1", std::to_string(i % (kEvents - 1)), R"(,"text":")" + text + '"');
  }
}

/// How many transactions there were, and how many of them had at most kBound bytes.
std::pair<int, int> Transactions(const Fixture& f) {
  const std::string metrics = f.metrics.Render();
  const auto number = [&metrics](const std::string& name) {
    const size_t at = metrics.find("\n" + name + " ");
    REQUIRE(at != std::string::npos);
    return std::stoi(metrics.substr(at + name.size() + 2));
  };
  return {number("millrace_processor_transaction_bytes_count"),
          number("millrace_processor_transaction_bytes_bucket{le=\"65536\"}")};
}

TEST_CASE("A transaction's bytes are bounded, whatever the fan-out", "[processor]") {
  const bool grows = GENERATE(false, true);  // in a transformation, which no estimate sees
  CAPTURE(grows);
  const int destinations = grows ? 1 : 8;
  Fixture f(WideWorkspace(destinations, grows ? "copies 8" : ""));
  f.settings.set_max_transaction_bytes(kBound);
  SendAll(f);
  f.Start();
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  const auto [all, small] = Transactions(f);
  CHECK(small == all);
  CHECK(all >= kEvents * 8 * 4000 / static_cast<int>(kBound));
  // Each event once; the last is a duplicate of the first, which another transaction moved.
  CHECK(Fixture::Of(counts, accounting::v1::DUPLICATE) == 1);
  CHECK(f.Values("destination.d0").size() == (kEvents - 1) * (grows ? 8u : 1u));
  if (!grows) CHECK(f.Values("destination.d7").size() == kEvents - 1);
}

TEST_CASE("One event whose outputs are beyond the bound moves alone", "[processor]") {
  Fixture f(WideWorkspace(8, ""));
  f.settings.set_max_transaction_bytes(5000);
  SendAll(f);
  f.Start();
  (void)f.WaitUntilCounted();
  f.Stop();
  CHECK(Transactions(f).first == kEvents);
  CHECK(f.Values("destination.d7").size() == kEvents - 1);
}

TEST_CASE("A transaction that fails repeats no event of those that were moved before",
          "[processor]") {
  Fixture f(WideWorkspace(8, ""));
  f.settings.set_max_transaction_bytes(kBound);
  SendAll(f);
  REQUIRE(ArmFailpoints("processor.before_commit:5:error").ok());
  f.Start();
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CHECK(Fixture::Of(counts, accounting::v1::ACCEPTED) == kEvents);
  CHECK(f.Values("destination.d3").size() == kEvents - 1);
}

}  // namespace
}  // namespace millrace::processor
