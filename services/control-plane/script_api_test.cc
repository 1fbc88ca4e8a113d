#include "services/control-plane/api_testing.h"

namespace millrace::control_plane {
namespace {

const Json kWorkspace = Json::parse(R"({
  "sources": [{"id": "s1", "name": "site", "writeKey": "k1"}],
  "destinations": [{"id": "d1", "name": "hook", "type": "WEBHOOK", "config": {"webhookUrl": "https://x"}}],
  "connections": [{"source": "site", "destination": "hook"}]})");

const std::string kBase = "/api/v1/transformations";

/// Requests that must be refused, with what the message must hold.
std::string Refused(Fixture& f, const std::string& method, const std::string& target,
                    const std::string& body, int status) {
  const http::Response response = f.Ask(method, target, body);
  CAPTURE(method, target, response.body);
  CHECK(response.status == status);
  const Json json = Json::parse(response.body);
  return json["error"].dump();
}

Json Put(Fixture& f, const std::string& target, const Json& body) {
  const http::Response response = f.Ask("PUT", target, body.dump());
  INFO(response.body);
  REQUIRE(response.status == 200);
  return Json::parse(response.body);
}

const config::v1::Transformation* InForce(const config::v1::Workspace& workspace,
                                          const std::string& name) {
  for (const auto& one : workspace.transformations()) {
    if (one.name() == name) return &one;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("versions are numbered and immutable, and only publish puts one in force", "[scripts]") {
  Fixture f;
  const Json made =
      f.Post(kBase, {{"name", "add field"}, {"code", "set a 1"}, {"description", "adds a"}});
  CHECK(made["script"]["latest"]["number"] == 1);
  CHECK_FALSE(made["script"].contains("published"));
  CHECK(made["revision"] == 1);  // nothing of it is in force
  const std::string id = made["script"]["id"];
  const Json second =
      Put(f, kBase + "/" + id, {{"code", "set a 2"}, {"note", "two"}, {"limits", {{"cpuMs", 50}}}});
  CHECK(second["script"]["latest"]["number"] == 2);
  CHECK(second["script"]["latest"]["limits"]["cpuMs"] == 50);
  CHECK(second["script"]["description"] == "adds a");
  CHECK(Put(f, kBase + "/add%20field", {{"code", "set a 2"}})["changed"] == false);
  CHECK(f.Get(kBase + "/" + id + "/versions/1")["code"] == "set a 1");

  CHECK(f.Post(kBase + "/" + id + "/publish", {{"version", 1}})["revision"] == 2);
  CHECK(f.Post(kBase + "/" + id + "/publish", {{"version", 1}})["scripts"][0]["changed"] == false);
  CHECK(f.Post(kBase + "/" + id + "/publish", Json::object())["revision"] == 3);  // the latest
  f.Open();  // all of it is kept
  const auto workspace = f.control_plane->config().Current();
  const auto* in_force = InForce(*workspace, "add field");
  REQUIRE(in_force != nullptr);
  CHECK(in_force->published().code() == "set a 2");
  CHECK(in_force->published().number() == 2);
  CHECK(in_force->published().transformation_id() == id);
  const Json shown = f.Get(kBase + "/" + id);
  CHECK(shown["published"]["number"] == 2);
  CHECK(shown["versionId"] == second["script"]["versionId"]);
  const Json versions = f.Get(kBase + "/" + id + "/versions");
  REQUIRE(versions.size() == 2);
  CHECK(versions[0]["note"] == "two");
  CHECK(versions[0]["published"] == true);
  CHECK(versions[1]["published"] == false);
  const Json list = f.Get(kBase);
  REQUIRE(list.size() == 1);
  CHECK_FALSE(list[0]["latest"].contains("code"));
}

TEST_CASE("a rollback goes back what was in force, step by step", "[scripts]") {
  Fixture f;
  f.Post(kBase + "?publish=true", {{"name", "t"}, {"code", "set a 1"}});
  CHECK(Refused(f, "POST", kBase + "/t/rollback", "", 409).find("no other version") !=
        std::string::npos);
  for (const char* code : {"set a 2", "set a 3"})
    Put(f, kBase + "/t?publish=true", {{"code", code}});
  CHECK(f.Post(kBase + "/t/rollback", Json::object())["scripts"][0]["published"]["number"] == 2);
  f.Open();
  CHECK(f.Post(kBase + "/t/rollback", Json::object())["scripts"][0]["published"]["number"] == 1);
  CHECK(InForce(*f.control_plane->config().Current(), "t")->published().code() == "set a 1");
  CHECK(f.Ask("POST", kBase + "/t/rollback").status == 409);
  // And forth again, by number.
  CHECK(f.Post(kBase + "/t/publish", {{"version", "3"}})["scripts"][0]["published"]["number"] == 3);
  CHECK(f.Post(kBase + "/t/rollback", Json::object())["scripts"][0]["published"]["number"] == 1);
}

TEST_CASE("faults stop a publish, each with its place, and nothing changes", "[scripts]") {
  Fixture f;
  f.Post(kBase, {{"name", "bad"}, {"code", "set a 1\nfault unexpected token\nimport nowhere"}});
  f.Post(kBase, {{"name", "good"}, {"code", "set a 1"}});
  const http::Response response =
      f.Ask("POST", kBase + "/publish", R"({"transformations": ["good", "bad"]})");
  CHECK(response.status == 400);
  const Json error = Json::parse(response.body)["error"];
  REQUIRE(error["faults"].size() == 2);
  CHECK(error["faults"][0] == Json{{"script", "bad"},
                                   {"where", "transformation"},
                                   {"line", 2},
                                   {"column", 1},
                                   {"message", "unexpected token"}});
  CHECK(error["message"].get<std::string>().find("bad, line 2, column 1: unexpected token") !=
        std::string::npos);
  CHECK(f.control_plane->config().Current()->revision() == 1);
  CHECK_FALSE(f.Get(kBase + "/good").contains("published"));
}

TEST_CASE("libraries: published together, checked with those that follow them, pinned",
          "[scripts]") {
  Fixture f;
  const std::string libraries = "/api/v1/libraries";
  const Json made = f.Post(libraries, {{"name", "my tools"}, {"code", "one"}});
  CHECK(made["script"]["importName"] == "myTools");
  CHECK(Refused(f, "PUT", libraries + "/myTools", R"({"importName": "other"})", 400)
            .find("stays 'myTools'") != std::string::npos);
  f.Post(kBase, {{"name", "user"}, {"code", "import myTools"}});
  CHECK(Refused(f, "POST", kBase + "/user/publish", "", 400).find("no library myTools") !=
        std::string::npos);
  const Json both = f.Post(kBase + "/publish",
                           {{"libraries", {"myTools"}}, {"transformations", {{{"id", "user"}}}}});
  CHECK(both["revision"] == 2);
  CHECK(both["scripts"].size() == 2);
  CHECK(f.control_plane->config().Current()->library_versions_size() == 1);
  // A library that its followers cannot do without.
  CHECK(Refused(f, "DELETE", libraries + "/my%20tools", "", 409).find("user, line 1, column 8") !=
        std::string::npos);
  Put(f, libraries + "/myTools", {{"code", "fault broken"}});
  CHECK(Refused(f, "POST", libraries + "/myTools/publish", "", 400).find("broken") !=
        std::string::npos);

  // Pinned to the first version, which the snapshot keeps when the second is in force.
  Put(f, kBase + "/user?publish=true",
      {{"libraries", {{{"name", "myTools"}, {"version", 1}}}},
       {"code", "import myTools\nset a 1"}});
  Put(f, libraries + "/myTools?publish=true", {{"code", "three"}});
  auto workspace = f.control_plane->config().Current();
  REQUIRE(workspace->library_versions_size() == 2);
  CHECK(workspace->library_versions(0).code() == "one");
  CHECK_FALSE(workspace->library_versions(0).published());
  CHECK(workspace->library_versions(1).code() == "three");
  CHECK(workspace->library_versions(1).published());
  CHECK(f.Post(libraries + "/myTools/rollback",
               Json::object())["scripts"][0]["published"]["number"] == 1);
  workspace = f.control_plane->config().Current();
  REQUIRE(workspace->library_versions_size() == 1);
  CHECK(workspace->library_versions(0).published());
}

TEST_CASE("of two publishes at once, one is told to read again", "[scripts]") {
  Fixture f;
  f.Post(kBase, {{"name", "a"}, {"code", "set a 1"}});
  bool once = true;
  f.factory.on_check = [&] {
    if (!std::exchange(once, false)) return;
    f.Post("/api/v1/apply", kWorkspace);  // on the API's thread, while the publish is being checked
  };
  CHECK(Refused(f, "POST", kBase + "/a/publish", "", 409).find("someone else") !=
        std::string::npos);
  CHECK_FALSE(f.Get(kBase + "/a").contains("published"));
  f.factory.on_check = nullptr;
  const uint64_t revision = f.control_plane->config().Current()->revision();
  CHECK(f.Ask("POST", kBase + "/a/publish", R"({"expectedRevision": 1})").status == 409);
  CHECK(f.Ask("POST", kBase + "/a/publish", Json{{"expectedRevision", revision}}.dump()).status ==
        200);
}

TEST_CASE("a shadow runs beside the version in force, and ends when it takes its place",
          "[scripts]") {
  Fixture f;
  f.Post(kBase, {{"name", "t"}, {"code", "set a 1"}});
  const std::string shadow = kBase + "/t/shadow";
  CHECK(Refused(f, "POST", shadow, R"({"permille": 10})", 409).find("publish one first") !=
        std::string::npos);
  f.Post(kBase + "/t/publish", Json::object());
  CHECK(Refused(f, "POST", shadow, R"({"permille": 10})", 400).find("in force itself") !=
        std::string::npos);
  Put(f, kBase + "/t", {{"code", "set a 2"}});
  CHECK(Refused(f, "POST", shadow, R"({"permille": 1001})", 400).find("permille") !=
        std::string::npos);
  const Json set = f.Post(shadow, {{"version", 2}, {"permille", 10}});
  CHECK(set["script"]["shadow"]["number"] == 2);
  const auto workspace = f.control_plane->config().Current();
  CHECK(InForce(*workspace, "t")->shadow().code() == "set a 2");
  CHECK(InForce(*workspace, "t")->shadow_permille() == 10);
  CHECK(f.Ask("DELETE", shadow).status == 200);
  CHECK_FALSE(InForce(*f.control_plane->config().Current(), "t")->has_shadow());
  f.Post(shadow, {{"permille", 10}});
  CHECK_FALSE(f.Post(kBase + "/t/publish", Json::object()).contains("shadow"));
  CHECK_FALSE(InForce(*f.control_plane->config().Current(), "t")->has_shadow());
}

TEST_CASE("a chain keeps what it refers to", "[scripts]") {
  Fixture f;
  f.Post("/api/v1/apply", kWorkspace);
  f.Post(kBase, {{"name", "t"}, {"code", "set a 1"}});
  const auto attach = [&](const Json& chain) {
    return f.Ask("PUT", "/api/v1/destinations/d1", Json{{"transformations", chain}}.dump());
  };
  CHECK(attach({"t"}).body.find(
            "destinations[0].transformations[0]: transformation 't' has no published") !=
        std::string::npos);
  CHECK(attach({{{"name", "t"}, {"version", 7}}}).status == 400);
  CHECK(attach({"t", "nope"}).status == 400);
  CHECK(attach("t").status == 400);
  CHECK(attach({{{"name", "t"}, {"version", 1}}}).status == 200);  // pinned, though never published
  auto workspace = f.control_plane->config().Current();
  REQUIRE(InForce(*workspace, "t") != nullptr);
  REQUIRE(InForce(*workspace, "t")->pinned_size() == 1);
  CHECK(InForce(*workspace, "t")->pinned(0).code() == "set a 1");
  CHECK(f.Get(kBase + "/t")["usedBy"] == Json::array({"destination 'hook'"}));
  CHECK(Refused(f, "DELETE", kBase + "/t", "", 409).find("chain of destination 'hook'") !=
        std::string::npos);
  f.Open();
  CHECK(f.Get("/api/v1/destinations/d1")["transformations"][0]["name"] == "t");
  f.Post(kBase + "/t/publish", Json::object());
  CHECK(attach({"t"}).status == 200);
  CHECK(InForce(*f.control_plane->config().Current(), "t")->pinned_size() == 0);
  CHECK(f.Get("/api/v1/destinations/d1")["transformations"] == Json::array({"t"}));
  CHECK(attach(Json::array()).status == 200);
  CHECK(f.Ask("DELETE", kBase + "/t").status == 200);
  CHECK(f.control_plane->config().Current()->transformations_size() == 0);
  CHECK(f.Ask("GET", kBase + "/t").status == 404);
}

TEST_CASE("a query that is not understood changes nothing", "[scripts]") {
  Fixture f;
  const std::string code = Json{{"name", "t"}, {"code", "set a 1"}}.dump();
  const std::string sources = R"({"sources": [{"name": "site", "writeKey": "k1"}]})";
  struct Case {
    std::string target;
    std::string body;
    std::string told;
  };
  for (const Case& c :
       {Case{kBase + "?publish=yes", code, "?publish= takes true or false, not 'yes'"},
        Case{kBase + "?publsh=true", code, "'publsh' in the query is not understood"},
        Case{"/api/v1/apply?dry_run=1", sources, "?dry_run= takes true or false, not '1'"},
        Case{"/api/v1/apply?dryRun=true", sources, "'dryRun' in the query is not understood"}}) {
    INFO(c.target);
    const http::Response response = f.Ask("POST", c.target, c.body);
    CHECK(response.status == 400);
    CHECK_THAT(response.body, Catch::Contains(c.told));
  }
  CHECK(f.Get(kBase).empty());
  CHECK(f.Get("/api/v1/sources").empty());
  CHECK(f.Ask("POST", kBase + "?publish=false", code).status == 200);
}

TEST_CASE("credentials go in and never out", "[scripts]") {
  Fixture f;
  const std::string value = "s3cr3t-value-98765";
  std::string said;  // all that ever comes out
  const auto ask = [&](const std::string& method, const std::string& target,
                       const Json& body = {}) {
    const http::Response response = f.Ask(method, target, body.is_null() ? "" : body.dump());
    said += response.body;
    return response.status;
  };
  CHECK(ask("PUT", "/api/v1/credentials/api%20key", {{"value", value}}) == 200);
  CHECK(ask("PUT", "/api/v1/credentials/open", {{"value", "shown"}, {"secret", false}}) == 200);
  CHECK(f.Get("/api/v1/credentials") ==
        Json::parse(R"([{"key": "api key", "secret": true, "value": "***"},
                                                        {"key": "open", "secret": false, "value": "***"}])"));
  CHECK(f.control_plane->config().Current()->credentials(0).value() == value);
  CHECK(ask("GET", "/api/v1/workspace") == 200);
  const Json document = f.Get("/api/v1/workspace")["credentials"];
  CHECK(ask("POST", "/api/v1/apply", {{"credentials", document}}) == 200);  // masked ones stay
  CHECK(f.control_plane->config().Current()->credentials(0).value() == value);
  CHECK(ask("PUT", "/api/v1/credentials/new", {{"value", "***"}}) == 400);
  CHECK(ask("PUT", "/api/v1/credentials/x", {{"value", {value}}}) == 400);
  CHECK(ask("DELETE", "/api/v1/credentials/none") == 404);
  CHECK(said.find(value) == std::string::npos);
}

}  // namespace millrace::control_plane
