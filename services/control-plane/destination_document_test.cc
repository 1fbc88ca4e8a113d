#include "services/control-plane/destination_document.h"

#include "services/control-plane/document_testing.h"

namespace millrace::control_plane {
namespace {

/// One source, and one destination connected to it.
const char* const kDocument = R"({
  "sources": [{"id": "s", "name": "site"}],
  "destinations": [{"id": "d", "name": "hook", "type": "WEBHOOK", "config": {"webhookUrl": "https://x"}}],
  "connections": [{"id": "c", "source": "site", "destination": "hook"}]})";

Workspace Made() {
  Workspace workspace;
  Apply(Json::parse(kDocument), &workspace);
  return workspace;
}

/// A change of destination "hook".
Json Hook(const Json& fields) {
  Json one = {{"name", "hook"}};
  one.update(fields);
  return {{"destinations", {one}}};
}

}  // namespace

TEST_CASE("when a destination was disabled is noted, kept, and cleared when it is enabled",
          "[document]") {
  Workspace workspace = Made();
  const auto& destination = workspace.destinations(0);
  CHECK(destination.disabled_at_us() == 0);
  Apply(Hook({{"enabled", false}}), &workspace, false, 5000);
  CHECK(destination.disabled_at_us() == 5000);
  CHECK(Apply(Hook({{"enabled", false}}), &workspace, false, 9000) ==
        Strings{"unchanged destination hook"});
  Apply(Hook({{"paused", true}}), &workspace, false, 9000);
  CHECK(destination.disabled_at_us() == 5000);
  Apply(Hook({{"enabled", true}}), &workspace, false, 9500);
  CHECK(destination.disabled_at_us() == 0);
  Apply(Json::parse(R"({"destinations": [{"name": "off", "type": "WEBHOOK", "enabled": false}]})"),
        &workspace, false, 7000);
  CHECK(workspace.destinations(1).disabled_at_us() == 7000);
}

TEST_CASE("pause and share are kept, shown, and applied again change nothing", "[document]") {
  Workspace workspace = Made();
  CHECK_FALSE(ToDocument(workspace, TestHooks())["destinations"][0].contains("share"));
  const Json share = {
      {"maxBytes", 5'000'000}, {"maxAgeSeconds", 3600}, {"whenUsedUp", "refuse_sources"}};
  Apply(Hook({{"paused", true}, {"share", share}}), &workspace);
  CHECK(workspace.destinations(0).paused());
  CHECK(workspace.destinations(0).share().max_bytes() == 5'000'000);
  CHECK(workspace.destinations(0).share().max_age_s() == 3600);
  CHECK(workspace.destinations(0).share().when_used_up() == config::v1::REFUSE_SOURCES);
  Json shown = ToDocument(workspace, TestHooks());
  CHECK(shown["destinations"][0]["share"] == share);
  CHECK(shown["destinations"][0]["paused"] == true);
  CHECK(Apply(shown, &workspace)[1] == "unchanged destination hook");
  // A change of something else leaves them, and so does what an answer adds.
  CHECK(Apply(Hook({{"enabled", true}, {"status", {{"waiting", 3}}}}), &workspace) ==
        Strings{"unchanged destination hook"});
  Apply(Hook({{"paused", false}, {"share", Json::object()}}), &workspace);
  CHECK_FALSE(workspace.destinations(0).has_share());
  shown = ToDocument(workspace, TestHooks());
  CHECK_FALSE(shown["destinations"][0].contains("share"));
  CHECK_FALSE(shown["destinations"][0].contains("paused"));
}

TEST_CASE("what is wrong with a share or a pause is said with its place", "[document]") {
  struct Case {
    std::string fields, message;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"paused": "yes"})", "destinations[0]: 'paused' must be true or false"},
      {R"({"share": 5})", "destinations[0].share: must hold keys and values"},
      {R"({"share": {"maxBytes": "1 GB"}})", "destinations[0].share: 'maxBytes' must be a whole"},
      {R"({"share": {"maxBytes": -1}})", "'maxBytes' must not be negative"},
      {R"({"share": {"maxBytes": 1000}})", "'maxBytes' must be 0 (the default) or at least"},
      {R"({"share": {"maxAgeSeconds": -5}})", "'maxAgeSeconds' must not be negative"},
      {R"({"share": {"maxage": 5}})", "destinations[0].share: unknown key 'maxage'; known: max"},
      {R"({"share": {"whenUsedUp": "panic"}})", "'whenUsedUp' is 'panic'; use give_up or refuse_"},
  }));
  Workspace workspace = Made();
  const auto plan = ApplyTo(Hook(Json::parse(c.fields)), &workspace);
  CAPTURE(c.fields);
  CHECK(plan.status().code() == StatusCode::kInvalidArgument);
  INFO(Message(plan.status()));
  CHECK(Message(plan.status()).find(c.message) != std::string_view::npos);
}

TEST_CASE("a destination named by its id keeps its type", "[document]") {
  Workspace workspace = Made();
  const std::string before = workspace.SerializeAsString();
  const auto plan =
      ApplyTo({{"destinations", {{{"id", "d"}, {"type", "OTHER"}, {"config", {{"url", "x"}}}}}}},
              &workspace);
  CHECK(plan.status().code() == StatusCode::kInvalidArgument);
  INFO(Message(plan.status()));
  CHECK(Message(plan.status()).find("make one with another id") != std::string_view::npos);
  CHECK(workspace.SerializeAsString() == before);
}

TEST_CASE("a destination named by its name alone and given another type is a new one",
          "[document]") {
  Workspace workspace = Made();
  Apply(Hook({{"paused", true}, {"enabled", false}}), &workspace);
  auto* give_up = workspace.mutable_destinations(0)->add_give_ups();
  give_up->set_id("g");
  CHECK(Apply(Hook({{"type", "OTHER"}, {"config", {{"url", "x"}}}}), &workspace) ==
        Strings{"create destination hook", "delete destination hook"});
  REQUIRE(workspace.destinations_size() == 1);
  const auto& made = workspace.destinations(0);
  CHECK(made.id() != "d");
  CHECK(made.type() == "OTHER");
  CHECK(made.config_json() == R"({"url":"x"})");
  CHECK(made.paused());
  CHECK_FALSE(made.enabled());
  CHECK(made.give_ups().empty());
  // Its connections go to the new one.
  REQUIRE(workspace.connections_size() == 1);
  CHECK(workspace.connections(0).destination_id() == made.id());
  // A document that names all of it again changes nothing more.
  CHECK(Apply(ToDocument(workspace, TestHooks()), &workspace)[1] == "unchanged destination hook");
}

TEST_CASE("a secret of one type is not taken for that of another", "[document]") {
  Workspace workspace = Made();
  Apply(Hook({{"config", {{"webhookUrl", "https://x"}, {"secret", "s3cr3t"}}}}), &workspace);
  const auto plan =
      ApplyTo(Hook({{"type", "OTHER"}, {"enabled", false}, {"config", {{"secret", "***cr3t"}}}}),
              &workspace);
  CHECK(plan.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(plan.status()).find("destinations[0].config.secret") != std::string_view::npos);
}

}  // namespace millrace::control_plane
