#include <catch2/catch.hpp>

#include <algorithm>
#include <set>
#include <string>

#include "services/processor/processor_fixture.h"

namespace millrace::processor {
namespace {

using Refs = google::protobuf::RepeatedPtrField<config::v1::TransformationRef>;

/// A workspace of one source with destinations d1 and d2, and transformations by id and code.
struct Plan {
  Plan() {
    workspace->set_id("w1");
    workspace->add_sources()->set_id("s1");
    for (const char* id : {"d1", "d2"}) {
      auto& destination = *workspace->add_destinations();
      destination.set_id(id);
      destination.set_type("WEBHOOK");
      destination.set_enabled(true);
      auto& connection = *workspace->add_connections();
      connection.set_source_id("s1");
      connection.set_destination_id(id);
      connection.set_enabled(true);
    }
  }
  /// Makes the transformation unless it is there, and puts it at the end of the chain.
  Plan& Add(Refs* chain, const std::string& id, const std::string& code) {
    bool known = false;
    for (const auto& there : workspace->transformations()) known = known || there.id() == id;
    if (!known) AddTransformation(*workspace, id, code);
    chain->Add()->set_transformation_id(id);
    return *this;
  }
  Refs* source() { return workspace->mutable_sources(0)->mutable_transformations(); }
  Refs* connection(int i) { return workspace->mutable_connections(i)->mutable_transformations(); }
  Refs* destination(int i) { return workspace->mutable_destinations(i)->mutable_transformations(); }

  std::shared_ptr<config::v1::Workspace> workspace = std::make_shared<config::v1::Workspace>();
};

/// What each side of the equation comes to, for the source ("") or a connection.
int64_t Residual(const Counts& counts, const std::string& destination) {
  const auto of = [&](Fate fate) { return Fixture::Of(counts, fate, destination); };
  if (destination.empty()) {
    return of(accounting::v1::ACCEPTED) + of(accounting::v1::PRODUCED) -
           of(accounting::v1::RETURNED) - of(accounting::v1::DUPLICATE) -
           of(accounting::v1::SOURCE_FILTERED) - of(accounting::v1::DROPPED) -
           of(accounting::v1::SOURCE_DEAD_LETTERED) - of(accounting::v1::PASSED_ON);
  }
  return of(accounting::v1::PASSED_ON) + of(accounting::v1::PRODUCED) - of(accounting::v1::ROUTED) -
         of(accounting::v1::FILTERED) - of(accounting::v1::DROPPED) -
         of(accounting::v1::DEAD_LETTERED);
}

void CheckBalanced(const Counts& counts) {
  for (const char* destination : {"", "d1", "d2"}) {
    CAPTURE(destination);
    CHECK(Residual(counts, destination) == 0);
  }
}

bool Has(const std::string& event, const std::string& part) {
  return event.find(part) != std::string::npos;
}

TEST_CASE("Chains run at the source, the connection, the destination, in this order",
          "[transform]") {
  Plan plan;
  plan.Add(plan.source(), "t1", "add first").Add(plan.source(), "t2", "add second");
  plan.Add(plan.connection(0), "t3", "add third").Add(plan.destination(0), "t4", "add fourth");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  CheckBalanced(f.WaitUntilCounted());
  f.Stop();
  const auto one = f.Values("destination.d1");
  REQUIRE(one.size() == 1);
  for (const char* member :
       {R"("first":"t1.v1")", R"("second":"t2.v1")", R"("third":"t3.v1")", R"("fourth":"t4.v1")"}) {
    CHECK(Has(one[0], member));
  }
  const auto versions = f.Metas().at(0).transformation_versions();
  CHECK(std::vector<std::string>(versions.begin(), versions.end()) ==
        std::vector<std::string>{"t1.v1", "t2.v1", "t3.v1", "t4.v1"});
  const auto two = f.Values("destination.d2");
  REQUIRE(two.size() == 1);
  CHECK(Has(two[0], "second"));
  CHECK(!Has(two[0], "third"));
  CHECK(f.Metas().at(0).transformation_versions_size() == 2);
}

TEST_CASE("One event may become none, or several with ids and positions of their own",
          "[transform]") {
  Plan plan;
  plan.Add(plan.source(), "t1", "copies 2");
  plan.Add(plan.connection(0), "t2", "copies 2").Add(plan.connection(1), "t3", "drop");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  f.Send("s1", "m2");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CheckBalanced(counts);
  CHECK(Fixture::Of(counts, accounting::v1::PRODUCED) == 2);
  CHECK(Fixture::Of(counts, accounting::v1::PASSED_ON, "d1") == 4);
  CHECK(Fixture::Of(counts, accounting::v1::PRODUCED, "d1") == 4);
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d1") == 8);
  CHECK(Fixture::Of(counts, accounting::v1::DROPPED, "d2") == 4);
  CHECK(f.Values("destination.d2").empty());
  std::set<std::string> ids;
  std::set<std::tuple<int32_t, int64_t, uint32_t>> positions;
  const auto values = f.Values("destination.d1");
  const auto metas = f.Metas();
  REQUIRE(values.size() == 8);
  for (size_t i = 0; i < values.size(); ++i) {
    ids.insert(metas[i].message_id());
    positions.insert(
        {metas[i].ingest_partition(), metas[i].ingest_offset(), metas[i].ingest_index()});
    CHECK(Has(values[i], "\"messageId\":\"" + metas[i].message_id() + "\""));
  }
  CHECK(ids == std::set<std::string>{"m1", "m1-2", "m1-3", "m1-4", "m2", "m2-2", "m2-3", "m2-4"});
  CHECK(positions.size() == 8);
}

/// The changed keys of the one record of a destination's topic.
std::vector<std::string> ChangedKeysOf(Fixture& f, const std::string& topic) {
  REQUIRE(f.Values(topic).size() == 1);
  const auto keys = f.Metas().at(0).changed_keys();
  return {keys.begin(), keys.end()};
}

TEST_CASE("A routing key is set by a transformation, never by the sender", "[transform]") {
  struct Case {
    const char* members;  // of the event as it was accepted
    std::vector<std::string> changed;
  };
  const auto c = GENERATE(values<Case>({
      {"", {"fullPath"}},
      {R"(,"fullPath":"https://evil")", {"fullPath"}},
      {R"(,"fullPath":"t1.v1")", {}},  // the same value, so still the sender's
      {R"(,"header":{"a":"b"})", {"fullPath"}},
  }));
  CAPTURE(c.members);
  Plan plan;
  plan.Add(plan.connection(0), "t1", "add fullPath").Add(plan.connection(1), "t2", "add other");
  Fixture f(plan.workspace);
  f.definition.add_routing_keys("header");
  f.definition.add_routing_keys("fullPath");
  f.Start();
  f.Send("s1", "m1", c.members);
  f.WaitUntilCounted();
  f.Stop();
  CHECK(ChangedKeysOf(f, "destination.d1") == c.changed);
  CHECK(ChangedKeysOf(f, "destination.d2").empty());
}

TEST_CASE("A routing key that was set before a later step failed is still set after the redrive",
          "[transform]") {
  Plan plan;
  plan.Add(plan.connection(0), "t1", "add fullPath").Add(plan.connection(0), "t2", "fail");
  Fixture f(plan.workspace);
  f.definition.add_routing_keys("fullPath");
  f.Start();
  f.Send("s1", "m1");
  f.WaitUntilCounted();
  const auto letter = f.Letters().at(0);
  Plan fixed;
  fixed.Add(fixed.connection(0), "t1", "add fullPath").Add(fixed.connection(0), "t2", "add fixed");
  f.Configure(fixed.workspace);
  f.Append("user-m1", letter.ingest(), letter.event());
  f.WaitUntilCounted();
  f.Stop();
  CHECK(ChangedKeysOf(f, "destination.d1") == std::vector<std::string>{"fullPath"});
}

TEST_CASE("A dropped event is counted where it was dropped", "[transform]") {
  Plan plan;
  plan.Add(plan.source(), "t1", "drop");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CheckBalanced(counts);
  CHECK(Fixture::Of(counts, accounting::v1::DROPPED) == 1);
  CHECK(f.Values("destination.d1").empty());
}

TEST_CASE("A message id that is taken away is put back; one that is changed holds", "[transform]") {
  Plan plan;
  plan.Add(plan.connection(0), "t1", "no-id").Add(plan.connection(1), "t2", "id other");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  f.WaitUntilCounted();
  f.Stop();
  CHECK(Has(f.Values("destination.d1").at(0), R"("messageId":"m1")"));
  CHECK(Has(f.Values("destination.d2").at(0), R"("messageId":"other")"));
  CHECK(f.Metas().at(0).message_id() == "other");
}

TEST_CASE("Message types are asked again after a transformation", "[transform]") {
  Plan plan;
  plan.Add(plan.connection(0), "t1", "type page");
  Fixture f(plan.workspace);
  f.definition.add_message_types("track");
  f.Start();
  f.Send("s1", "m1");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CheckBalanced(counts);
  CHECK(counts.at({"s1", "d1", accounting::v1::FILTERED, "message_type_not_supported"}) == 1);
  CHECK(f.Values("destination.d2").size() == 1);
}

TEST_CASE("Destinations with the same chain share its run, unless it may ask which one it is",
          "[transform]") {
  const bool asks = GENERATE(false, true);
  Plan plan;
  const std::string code = asks ? "meta where" : "add where";
  plan.Add(plan.destination(0), "t1", code).Add(plan.destination(1), "t1", code);
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  CheckBalanced(f.WaitUntilCounted());
  f.Stop();
  CHECK(Has(f.Values("destination.d1").at(0), asks ? R"("where":"d1")" : R"("where":"t1.v1")"));
  CHECK(Has(f.Values("destination.d2").at(0), asks ? R"("where":"d2")" : R"("where":"t1.v1")"));
}

TEST_CASE("A failure costs its own event, which goes back to where it failed", "[transform]") {
  const bool at_source = GENERATE(true, false);
  CAPTURE(at_source);
  Plan plan;
  auto* chain = at_source ? plan.source() : plan.connection(0);
  plan.Add(chain, "t1", "add first").Add(chain, "t2", "fail-on BAD").Add(chain, "t3", "add last");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "good");
  f.Send("s1", "bad", R"(,"word":"BAD")");
  const Counts counts = f.WaitUntilCounted();
  CheckBalanced(counts);
  CHECK(f.Values("destination.d1").size() == 1);
  CHECK(f.Values("destination.d2").size() == (at_source ? 1 : 2));
  const auto letters = f.Letters();
  REQUIRE(letters.size() == 1);
  const auto& letter = letters[0];
  CHECK(letter.stage() == "processor");
  CHECK(letter.error_class() == "transformation");
  CHECK(letter.reason() == "transformation 'name of t2' version 1: wrong");
  CHECK(letter.stack() == "at line 1");
  CHECK(letter.attempts() == 1);
  CHECK(letter.destination_id() == (at_source ? "" : "d1"));
  CHECK(letter.has_delivery() == !at_source);
  CHECK(Has(letter.event(), R"("first":"t1.v1")"));
  CHECK(!Has(letter.event(), "last"));

  // Mended, and sent again as the control plane does.
  plan.workspace->mutable_transformations(1)->mutable_published()->set_code("add second");
  plan.workspace->mutable_transformations(1)->mutable_published()->set_id("t2.v2");
  f.Configure(std::make_shared<config::v1::Workspace>(*plan.workspace));
  f.Append(letter.user_key(), letter.ingest(), letter.event());
  const Counts again = f.WaitUntilCounted();
  f.Stop();
  CHECK(f.Values("destination.d2").size() == 2);
  const auto values = f.Values("destination.d1");
  REQUIRE(values.size() == 2);
  const auto metas = f.Metas();
  for (size_t i = 0; i < 2; ++i) {
    if (!Has(values[i], "BAD")) continue;
    CHECK(Has(values[i], R"("second":"t2.v2")"));
    CHECK(Has(values[i], R"("last":"t3.v1")"));
    const auto& versions = metas[i].transformation_versions();
    CHECK(std::vector<std::string>(versions.begin(), versions.end()) ==
          std::vector<std::string>{"t1.v1", "t2.v2", "t3.v1"});
  }
  CHECK(Residual(again, "") == 0);
  // The control plane's own count of what left the dead letters is not here.
  CHECK(Residual(again, "d1") == (at_source ? 0 : -1));
  CHECK(Fixture::Of(again, accounting::v1::RETURNED) == (at_source ? 0 : 1));
}

TEST_CASE("An engine that fails is asked again, three times in all", "[transform]") {
  const bool once = GENERATE(true, false);
  Plan plan;
  plan.Add(plan.connection(0), "t1", once ? "lose-once" : "lose");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  CheckBalanced(f.WaitUntilCounted());
  f.Stop();
  CHECK(f.Values("destination.d1").size() == (once ? 1 : 0));
  const auto letters = f.Letters();
  REQUIRE(letters.size() == (once ? 0 : 1));
  if (once) return;
  CHECK(letters[0].error_class() == "engine");
  CHECK(letters[0].attempts() == 3);
}

TEST_CASE("A version that cannot run dead-letters its events and stops nothing else",
          "[transform]") {
  Plan plan;
  plan.Add(plan.connection(0), "t1", "broken");
  Fixture f(plan.workspace);
  f.Start();
  f.Send("s1", "m1");
  CheckBalanced(f.WaitUntilCounted());
  f.Stop();
  CHECK(f.Values("destination.d2").size() == 1);
  REQUIRE(f.Letters().size() == 1);
  CHECK(f.Letters()[0].reason() ==
        "transformation 'name of t1' version 1: line 1, column 1: unexpected end");
}

TEST_CASE("Events of one user keep their order on different ways to a destination", "[transform]") {
  Plan plan;
  plan.workspace->add_sources()->set_id("s2");
  auto& connection = *plan.workspace->add_connections();
  connection.set_source_id("s2");
  connection.set_destination_id("d1");
  connection.set_enabled(true);
  plan.Add(plan.connection(0), "t1", "copies 2");
  Fixture f(plan.workspace);
  for (int i = 0; i < 10; ++i) {
    f.SendAs("same", i % 2 == 0 ? "s1" : "s2",
             std::to_string(i));  // one batch, as nobody reads yet
  }
  f.Start();
  f.WaitUntilCounted();
  f.Stop();
  f.Values("destination.d1");
  std::vector<std::string> ids;
  for (const auto& meta : f.Metas()) ids.push_back(meta.message_id());
  CHECK(ids == std::vector<std::string>{"0", "0-2", "1", "2", "2-2", "3", "4", "4-2", "5", "6",
                                        "6-2", "7", "8", "8-2", "9"});
}

}  // namespace
}  // namespace millrace::processor
