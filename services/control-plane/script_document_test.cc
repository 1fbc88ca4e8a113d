#include "services/control-plane/api_testing.h"

namespace millrace::control_plane {
namespace {

Json Document() {
  return Json::parse(R"({
    "credentials": [{"key": "k", "value": "v"}],
    "libraries": [{"name": "tools", "code": "one"}],
    "transformations": [{"name": "t", "code": "import tools", "limits": {"cpuMs": 5}},
                        {"name": "r", "kind": "rules", "code": "drop"}],
    "sources": [{"id": "s1", "name": "site", "writeKey": "k1", "transformations": ["r"]}],
    "destinations": [{"id": "d1", "name": "hook", "type": "WEBHOOK", "config": {"webhookUrl": "https://x"},
                      "transformations": [{"name": "t", "version": 1}]}],
    "connections": [{"source": "site", "destination": "hook", "transformations": ["t", "r"]}]})");
}

/// "action kind name" of each change, without the unchanged ones.
std::vector<std::string> Changes(const Json& plan) {
  std::vector<std::string> lines;
  for (const Json& change : plan["changes"]) {
    if (change["action"] == "unchanged") continue;
    lines.push_back(change["action"].get<std::string>() + " " + change["kind"].get<std::string>() +
                    " " + change["name"].get<std::string>());
  }
  return lines;
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE(
    "a document brings code, chains and credentials in one revision, and again changes nothing",
    "[document]") {
  Fixture f;
  CHECK(Changes(f.Post("/api/v1/apply?dry_run=true", Document())).size() == 7);
  CHECK(f.Get("/api/v1/transformations").empty());
  const Json plan = f.Post("/api/v1/apply", Document());
  CHECK(Changes(plan) == Strings{"create credential k", "create library tools",
                                 "create transformation t", "create transformation r",
                                 "create source site", "create destination hook",
                                 "create connection site -> hook"});
  CHECK(plan["revision"] == 2);
  const auto workspace = f.control_plane->config().Current();
  REQUIRE(workspace->transformations_size() == 2);
  CHECK(workspace->transformations(0).published().limits().cpu_ms() == 5);
  CHECK(workspace->transformations(0).pinned_size() == 1);
  CHECK(workspace->transformations(1).published().kind() == config::v1::RULES);
  CHECK(workspace->connections(0).transformations_size() == 2);
  CHECK(workspace->sources(0).transformations(0).transformation_id() ==
        workspace->transformations(1).id());
  CHECK(Changes(f.Post("/api/v1/apply", Document())).empty());
  CHECK(f.control_plane->config().Current()->revision() == 2);
  // What is shown can be applied.
  Json shown = f.Get("/api/v1/workspace");
  shown.erase("revision");
  CHECK(Changes(f.Post("/api/v1/apply", shown)).empty());
  CHECK(f.control_plane->config().Current()->revision() == 2);
}

TEST_CASE("a document publishes what differs from the version in force, and only that",
          "[document]") {
  Fixture f;
  f.Post("/api/v1/apply", Document());
  Json document = Document();
  document["transformations"][0]["code"] = "set a 2";
  document["libraries"][0]["code"] = "two";
  CHECK(Changes(f.Post("/api/v1/apply", document)) ==
        Strings{"update library tools", "update transformation t"});
  CHECK(f.Get("/api/v1/transformations/t")["published"]["number"] == 2);
  CHECK(f.Get("/api/v1/transformations/r")["published"]["number"] == 1);
  // A version that was only saved is not what the document is compared with.
  REQUIRE(f.Ask("PUT", "/api/v1/transformations/t", R"({"code": "set a 3"})").status == 200);
  CHECK(Changes(f.Post("/api/v1/apply", document)).empty());
  document["transformations"][0]["code"] =
      "set a 3";  // then it is that version that is put in force
  f.Post("/api/v1/apply", document);
  CHECK(f.Get("/api/v1/transformations/t")["published"]["number"] == 3);
  document["transformations"][0]["code"] = "set a 4";
  document["transformations"][0]["publish"] = false;
  CHECK(Changes(f.Post("/api/v1/apply", document)) == Strings{"update transformation t"});
  CHECK(f.Get("/api/v1/transformations/t")["latest"]["number"] == 4);
  CHECK(f.Get("/api/v1/transformations/t")["published"]["number"] == 3);
}

TEST_CASE("a document whose code is at fault changes nothing, also when it is only a dry run",
          "[document]") {
  Fixture f;
  Json document = Document();
  document["transformations"][0]["code"] = "import elsewhere";
  for (const char* target : {"/api/v1/apply?dry_run=true", "/api/v1/apply"}) {
    const http::Response response = f.Ask("POST", target, document.dump());
    CHECK(response.status == 400);
    CHECK(Json::parse(response.body)["error"]["faults"][0]["message"] ==
          "there is no library elsewhere");
  }
  CHECK(f.Get("/api/v1/libraries").empty());
  CHECK(f.control_plane->config().Current()->revision() == 1);
}

TEST_CASE("what a workspaceConfig knows of transformations is taken over, the rest said",
          "[import]") {
  Fixture f;
  const auto config = [](const Json& transformations) {
    return Json{{"libraries", {{{"versionId", "l1"}}}},
                {"sources",
                 {{{"id", "s1"},
                   {"name", "Web"},
                   {"writeKey", "w1"},
                   {"sourceDefinition", {{"name", "Javascript"}}},
                   {"destinations",
                    {{{"id", "d1"},
                      {"name", "Hook"},
                      {"config", {{"webhookUrl", "https://x"}}},
                      {"transformations", transformations},
                      {"destinationDefinition", {{"name", "WEBHOOK"}}}}}}}}}};
  };
  const Json ids = config({{{"id", "tr_1"}, {"versionId", "ver_7"}}});
  const Json told = f.Post("/api/v1/import/rudderstack", ids);
  REQUIRE(told["warnings"].size() == 2);
  CHECK(told["warnings"][0].get<std::string>().find("transformations/tr_1/versions/ver_7") !=
        std::string::npos);
  CHECK(told["warnings"][1].get<std::string>().find("importName") != std::string::npos);
  CHECK(f.Get("/api/v1/destinations/d1")["enabled"] == false);
  // Once it was deployed under its id, it is attached.
  f.Post("/api/v1/transformations?publish=true", {{"name", "tr_1"}, {"code", "set a 1"}});
  CHECK(f.Post("/api/v1/import/rudderstack", ids)["warnings"].size() == 1);
  CHECK(f.Get("/api/v1/destinations/d1")["enabled"] == true);
  CHECK(f.Get("/api/v1/destinations/d1")["transformations"] == Json::array({"tr_1"}));
  // With its code.
  f.Post("/api/v1/import/rudderstack",
         config({{{"id", "tr_2"}, {"name", "mine"}, {"code", "set b 1"}}}));
  CHECK(f.Get("/api/v1/destinations/d1")["transformations"] == Json::array({"mine"}));
  const Json python =
      f.Post("/api/v1/import/rudderstack", config({{{"id", "tr_3"}, {"language", "pythonfaas"}}}));
  CHECK(python["warnings"][0].get<std::string>().find("pythonfaas") != std::string::npos);
  CHECK(f.Get("/api/v1/destinations/d1")["enabled"] == false);
}

TEST_CASE("pruning takes what the lists do not name, and of a missing list nothing", "[document]") {
  Fixture f;
  f.Post("/api/v1/apply", Document());
  Json document = Document();
  document.erase("credentials");
  document.erase("libraries");
  document["transformations"].erase(0);
  // Still in a chain.
  CHECK(f.Ask("POST", "/api/v1/apply?prune=true", document.dump()).status == 409);
  document["connections"][0]["transformations"] = {"r"};
  document["destinations"][0]["transformations"] = Json::array();
  CHECK(Changes(f.Post("/api/v1/apply?prune=true", document)) ==
        Strings{"update destination hook", "update connection site -> hook",
                "delete transformation t"});
  CHECK(f.Get("/api/v1/credentials").size() == 1);
  CHECK(f.Get("/api/v1/libraries").size() == 1);
  document["credentials"] = Json::array();
  document["libraries"] = Json::array();
  CHECK(Changes(f.Post("/api/v1/apply?prune=true", document)) ==
        Strings{"delete library tools", "delete credential k"});
}

}  // namespace millrace::control_plane
