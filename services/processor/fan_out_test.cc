#include "services/processor/fan_out.h"

#include <catch2/catch.hpp>

#include <memory>
#include <string>

namespace millrace::processor {
namespace {

destination::v1::Definition WebhookDefinition() {
  destination::v1::Definition definition;
  definition.set_type("WEBHOOK");
  definition.set_display_name("Webhook");
  definition.add_message_types("track");
  definition.add_message_types("identify");
  return definition;
}

/// One source with one connection to a webhook.
std::shared_ptr<config::v1::Workspace> SmallWorkspace() {
  auto workspace = std::make_shared<config::v1::Workspace>();
  workspace->set_id("w1");
  workspace->add_sources()->set_id("s1");
  auto* destination = workspace->add_destinations();
  destination->set_id("d1");
  destination->set_name("Our hook");
  destination->set_type("WEBHOOK");
  destination->set_enabled(true);
  auto* connection = workspace->add_connections();
  connection->set_source_id("s1");
  connection->set_destination_id("d1");
  connection->set_enabled(true);
  return workspace;
}

std::string Reason(const config::WorkspacePtr& workspace, event::v1::EventType type,
                   std::string_view integrations) {
  static const destination::v1::Definition definition = WebhookDefinition();
  const FanOut fan_out(
      workspace, [](std::string_view name) { return name == "WEBHOOK" ? &definition : nullptr; });
  const auto* routes = fan_out.Routes("s1");
  REQUIRE(routes != nullptr);
  REQUIRE(routes->size() == 1);
  return std::string(WhyNot(routes->front(), type, Integrations(integrations)));
}

TEST_CASE("The integrations object decides where an event goes", "[fan_out]") {
  struct Case {
    const char* integrations;
    bool goes;
  };
  const auto c = GENERATE(values<Case>({
      {"", true},
      {"null", true},
      {"{}", true},
      {"[]", true},
      {R"({"All":true})", true},
      {R"({"All":false})", false},
      {R"({"All":"false"})", true},  // a bad value never drops everything
      {R"({"All":null})", true},
      {R"({"All":false,"Webhook":true})", true},
      {R"({"All":false,"Webhook":{"key":"value"}})", true},
      {R"({"All":true,"Webhook":false})", false},
      {R"({"Webhook":false})", false},
      {R"({"WEBHOOK":false})", false},
      {R"({"Our hook":false})", false},
      {R"({"d1":false})", false},
      {R"({"Amplitude":false})", true},
      {R"({"All":false,"Amplitude":true})", false},
      {R"({"d1":true,"Webhook":false})", true},  // the id is the nearest name
  }));
  CAPTURE(c.integrations);
  CHECK(Reason(SmallWorkspace(), event::v1::TRACK, c.integrations) ==
        (c.goes ? "" : "integrations_object"));
}

TEST_CASE("An `All` that is no boolean is reported", "[fan_out]") {
  CHECK(Integrations(R"({"All":"no"})").bad_all());
  CHECK(Integrations(R"({"All":{}})").bad_all());
  CHECK_FALSE(Integrations(R"({"All":false})").bad_all());
  CHECK_FALSE(Integrations(R"({"Webhook":"x"})").bad_all());
}

TEST_CASE("A route says why it is closed", "[fan_out]") {
  auto workspace = SmallWorkspace();
  CHECK(Reason(workspace, event::v1::PAGE, "") == "message_type_not_supported");
  SECTION("disabled connection") {
    workspace->mutable_connections(0)->set_enabled(false);
    CHECK(Reason(workspace, event::v1::TRACK, "") == "connection_disabled");
  }
  SECTION("disabled destination") {
    workspace->mutable_destinations(0)->set_enabled(false);
    CHECK(Reason(workspace, event::v1::TRACK, "") == "destination_disabled");
  }
  SECTION("unknown type") {
    workspace->mutable_destinations(0)->set_type("NONE");
    CHECK(Reason(workspace, event::v1::TRACK, "") == "destination_type_unknown");
  }
  SECTION("missing destination") {
    workspace->mutable_destinations()->Clear();
    CHECK(Reason(workspace, event::v1::TRACK, "") == "destination_missing");
  }
}

TEST_CASE("An unknown source has no routes, one without connections an empty list", "[fan_out]") {
  auto workspace = SmallWorkspace();
  workspace->mutable_connections()->Clear();
  const FanOut fan_out(workspace, [](std::string_view) { return nullptr; });
  CHECK(fan_out.Routes("other") == nullptr);
  REQUIRE(fan_out.Routes("s1") != nullptr);
  CHECK(fan_out.Routes("s1")->empty());
}

}  // namespace
}  // namespace millrace::processor
