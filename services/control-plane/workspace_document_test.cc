#include "services/control-plane/workspace_document.h"

#include "services/control-plane/document_testing.h"

namespace millrace::control_plane {
namespace {

const char* const kDocument = R"({
  "sources": [{"name": "site", "type": "HTTP", "writeKey": "k1"}],
  "destinations": [{"name": "hook", "type": "WEBHOOK", "config": {"webhookUrl": "https://x", "secret": "s3cr3t"}}],
  "connections": [{"source": "site", "destination": "hook"}]})";

}  // namespace

TEST_CASE("a document makes the workspace, and applied again changes nothing", "[document]") {
  Workspace workspace;
  CHECK(Apply(Json::parse(kDocument), &workspace) ==
        Strings{"create source site", "create destination hook", "create connection site -> hook"});
  REQUIRE(workspace.connections_size() == 1);
  CHECK(workspace.connections(0).source_id() == workspace.sources(0).id());
  CHECK(workspace.sources(0).write_keys(0) == "k1");
  const std::string before = workspace.SerializeAsString();
  CHECK(Apply(Json::parse(kDocument), &workspace) == Strings{"unchanged source site",
                                                             "unchanged destination hook",
                                                             "unchanged connection site -> hook"});
  CHECK(workspace.SerializeAsString() == before);
}

TEST_CASE("what is shown can be applied, and masked secrets keep their values", "[document]") {
  Workspace workspace;
  Apply(Json::parse(kDocument), &workspace);
  Json shown = ToDocument(workspace, TestHooks());
  CHECK(shown["destinations"][0]["config"]["secret"] == "***cr3t");
  shown["destinations"][0]["config"]["webhookUrl"] = "https://y";
  CHECK(Apply(shown, &workspace) == Strings{"unchanged source site", "update destination hook",
                                            "unchanged connection site -> hook"});
  const Json stored = Json::parse(workspace.destinations(0).config_json());
  CHECK(stored["secret"] == "s3cr3t");
  CHECK(stored["webhookUrl"] == "https://y");
}

TEST_CASE("the configuration of a source comes back, and applied again changes nothing",
          "[document]") {
  Workspace workspace;
  const Json document = Json::parse(
      R"({"sources": [{"name": "site", "config": {"a": 1, "b": {"c": ["d"]}}}, {"name": "app"}]})");
  Apply(document, &workspace);
  const Json shown = ToDocument(workspace, TestHooks());
  CHECK(shown["sources"][0]["config"] == document["sources"][0]["config"]);
  CHECK_FALSE(shown["sources"][1].contains("config"));
  CHECK(Apply(shown, &workspace) == Strings{"unchanged source site", "unchanged source app"});
  // Into another workspace, as an export is.
  Workspace other;
  Apply(shown, &other);
  CHECK(ToDocument(other, TestHooks())["sources"] == shown["sources"]);
  Apply({{"sources", {{{"name", "site"}, {"config", Json::object()}}}}}, &workspace);
  CHECK_FALSE(ToDocument(workspace, TestHooks())["sources"][0].contains("config"));
}

TEST_CASE("of a list, no item takes its neighbour's secret", "[document]") {
  Workspace workspace;
  const auto with_headers = [](const Json& headers) {
    return Json{{"destinations",
                 {{{"name", "hook"},
                   {"type", "WEBHOOK"},
                   {"config", {{"webhookUrl", "https://x"}, {"headers", headers}}}}}}};
  };
  Apply(with_headers(Json::parse(R"([{"from": "A", "to": "one"}, {"from": "B", "to": "two"}])")),
        &workspace);
  Apply(with_headers(Json::parse(R"([{"from": "B", "to": "********"}])")), &workspace);
  CHECK(Json::parse(workspace.destinations(0).config_json())["headers"] ==
        Json::parse(R"([{"from": "B", "to": "two"}])"));
  const auto refused =
      ApplyTo(with_headers(Json::parse(R"([{"from": "C", "to": "********"}])")), &workspace);
  CHECK(refused.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(refused.status()).find("destinations[0].config.headers[0].to") !=
        std::string_view::npos);
}

TEST_CASE("a change of a destination gives it a new revision, a rename is a change", "[document]") {
  Workspace workspace;
  Apply(Json::parse(kDocument), &workspace);
  const std::string revision = workspace.destinations(0).revision();
  const std::string id = workspace.destinations(0).id();
  CHECK(Apply({{"destinations", {{{"id", id}, {"name", "other"}, {"type", "WEBHOOK"}}}}},
              &workspace) == Strings{"update destination other"});
  CHECK(workspace.destinations(0).revision() != revision);
  CHECK(Json::parse(workspace.destinations(0).config_json())["webhookUrl"] == "https://x");
}

TEST_CASE("prune deletes what the document does not name, with its connections", "[document]") {
  Workspace workspace;
  Apply(Json::parse(kDocument), &workspace);
  CHECK(Apply({{"sources", {{{"name", "app"}, {"writeKey", "k2"}}}}}, &workspace, true) ==
        Strings{"create source app", "delete connection site -> hook", "delete destination hook",
                "delete source site"});
  CHECK(workspace.sources_size() == 1);
  CHECK(workspace.destinations_size() == 0);
  CHECK(workspace.connections_size() == 0);
}

TEST_CASE("deleting an entity takes its connections along", "[document]") {
  Workspace workspace;
  Apply(Json::parse(kDocument), &workspace);
  const auto plan = DeleteEntity("destinations", workspace.destinations(0).id(), &workspace);
  CHECK(plan.size() == 2);
  CHECK(workspace.connections_size() == 0);
  CHECK(workspace.sources_size() == 1);
  CHECK(DeleteEntity("destinations", "none", &workspace).empty());
}

TEST_CASE("what is wrong is named with its place", "[document]") {
  struct Case {
    const char* name;
    std::string document;
    std::string message;
  };
  const auto c = GENERATE(values<Case>({
      {"list", R"([])", "workspace"},
      {"unknown list", R"({"sauces": []})", "unknown key 'sauces'"},
      {"not a list", R"({"sources": {}})", "sources: must be a list"},
      {"unknown key", R"({"sources": [{"name": "a", "writekey": "x"}]})",
       "sources[0]: unknown key 'writekey'"},
      {"no name", R"({"sources": [{}]})", "sources[0]: needs a 'name' or an 'id'"},
      {"bad id", R"({"sources": [{"id": "a/b"}]})", "sources[0]: id 'a/b'"},
      {"wrong kind", R"({"sources": [{"name": "a", "enabled": "yes"}]})", "sources[0]: 'enabled'"},
      {"twice", R"({"sources": [{"name": "a"}, {"name": "a"}]})",
       "sources[1]: source 'a' stands here twice"},
      {"one key, two sources",
       R"({"sources": [{"name": "a", "writeKey": "k"}, {"name": "b", "writeKey": "k"}]})",
       "source 'b': its write key is also that of source 'a'; give each its own"},
      {"source config", R"({"sources": [{"name": "a", "config": [1]}]})",
       "sources[0]: 'config' must hold keys and values"},
      {"empty key", R"({"sources": [{"name": "a", "writeKeys": [""]}]})", "'writeKeys'"},
      {"unknown type", R"({"destinations": [{"name": "a", "type": "NOPE"}]})",
       "destinations[0]: there is no destination type 'NOPE'"},
      {"bad config", R"({"destinations": [{"name": "a", "type": "WEBHOOK", "config": {}}]})",
       "destinations[0]: webhookUrl"},
      {"no such source", R"({"connections": [{"source": "a", "destination": "b"}]})",
       "connections[0]: there is no source 'a'"},
      {"ambiguous",
       R"({"sources": [{"id": "1", "name": "a"}, {"id": "2", "name": "a"}],
           "connections": [{"source": "a", "destination": "b"}]})",
       "several are named 'a'"},
  }));
  CAPTURE(c.name);
  Workspace workspace;
  const auto plan = ApplyTo(Json::parse(c.document), &workspace);
  CHECK(plan.status().code() == StatusCode::kInvalidArgument);
  INFO(Message(plan.status()));
  CHECK(Message(plan.status()).find(c.message) != std::string_view::npos);
}

TEST_CASE("a workspaceConfig of RudderStack becomes a document", "[import]") {
  const Json config = Json::parse(R"({
    "workspaceId": "ws", "libraries": [],
    "sources": [
      {"id": "s1", "name": "Web", "writeKey": "w1", "enabled": true,
       "sourceDefinition": {"name": "Javascript", "category": null}, "config": {"x": 1},
       "destinations": [
         {"id": "d1", "name": "Hook", "enabled": true, "isConnectionEnabled": true,
          "config": {"webhookUrl": "https://x", "extra": 1}, "transformations": [{"id": "t"}],
          "destinationDefinition": {"name": "WEBHOOK"}},
         {"id": "d2", "name": "Odd", "enabled": true, "config": {},
          "destinationDefinition": {"name": "NOPE"}}]},
      {"id": "s2", "name": "App", "writeKey": "w2", "enabled": "not a flag",
       "sourceDefinition": {"name": "HTTP"},
       "destinations": [
         {"id": "d1", "name": "Hook", "enabled": true, "isConnectionEnabled": false,
          "config": {"webhookUrl": "https://x"}, "destinationDefinition": {"name": "WEBHOOK"}}]}]})");
  Strings warnings;
  const auto document = DocumentFromRudderStack(config, TestHooks(), nullptr, &warnings);
  REQUIRE(document.ok());
  Workspace workspace;
  CHECK(Apply(*document, &workspace).size() == 7);
  REQUIRE(workspace.destinations_size() == 2);
  CHECK(workspace.destinations(0).id() == "d1");
  CHECK_FALSE(workspace.destinations(0).enabled());
  CHECK_FALSE(workspace.destinations(1).enabled());
  REQUIRE(workspace.connections_size() == 3);
  CHECK(workspace.connections(0).enabled());
  CHECK_FALSE(workspace.connections(2).enabled());
  CHECK(workspace.sources(0).config_json() == R"({"x":1})");
  CHECK(workspace.sources(1).write_keys(0) == "w2");
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].find("'Hook' comes disabled: of its transformation t ") != std::string::npos);
  CHECK(warnings[1].find("'Odd' comes disabled") != std::string::npos);
  // Importing it again changes nothing.
  for (const std::string& line : Apply(*document, &workspace))
    CHECK(line.rfind("unchanged", 0) == 0);
}

TEST_CASE("what is no workspaceConfig is refused", "[import]") {
  Strings warnings;
  for (const char* text : {"[]", "{}", "1", R"({"sources": 1})", "null"}) {
    CAPTURE(text);
    CHECK(DocumentFromRudderStack(Json::parse(text), TestHooks(), nullptr, &warnings)
              .status()
              .code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace millrace::control_plane
