#include "services/control-plane/openapi.h"

#include "services/control-plane/api_testing.h"

namespace millrace::control_plane {
namespace {

const Json& Document() {
  static const Json document = Json::parse(OpenApiDocument());
  return document;
}

const Json& Resolved(const Json& schema) {
  if (!schema.contains("$ref")) return schema;
  const std::string ref = schema["$ref"];
  return Resolved(Document().at(Json::json_pointer(ref.substr(1))));
}

bool HasType(const Json& json, const std::string& type) {
  if (type == "object") return json.is_object();
  if (type == "array") return json.is_array();
  if (type == "string") return json.is_string();
  if (type == "boolean") return json.is_boolean();
  return type == "integer" && json.is_number_integer();
}

/// What of `json` the schema does not say, by its path; "" when it says all.
std::string Undeclared(const Json& json, const Json& given, const std::string& path) {
  const Json& schema = Resolved(given);
  if (schema.contains("oneOf")) {
    for (const Json& one : schema["oneOf"]) {
      if (Undeclared(json, one, path).empty()) return "";
    }
    return path + " is none of oneOf";
  }
  if (schema.contains("enum")) {
    for (const Json& one : schema["enum"]) {
      if (one == json) return "";
    }
    return path + " is not in the enum";
  }
  if (schema.contains("type") && schema["type"].is_string() && !HasType(json, schema["type"])) {
    return path + " is not of type " + schema["type"].get<std::string>();
  }
  if (json.is_array() && schema.contains("items")) {
    for (size_t i = 0; i < json.size(); ++i) {
      const std::string found =
          Undeclared(json[i], schema["items"], path + "[" + std::to_string(i) + "]");
      if (!found.empty()) return found;
    }
  }
  Json properties = schema.value("properties", Json::object());
  for (const Json& one : schema.value("allOf", Json::array())) {
    properties.update(Resolved(one).value("properties", Json::object()));
  }
  if (!json.is_object() || properties.empty()) return "";  // any object
  for (const auto& [key, value] : json.items()) {
    if (!properties.contains(key)) return path + "." + key + " is not in the document";
    const std::string found = Undeclared(value, properties[key], path + "." + key);
    if (!found.empty()) return found;
  }
  return "";
}

/// A body that each operation takes.
std::string BodyOf(const std::string& operation) {
  static const std::map<std::string, Json> bodies = {
      {"post /api/v1/apply", {{"sources", Json::array()}}},
      {"post /api/v1/import/rudderstack", {{"sources", Json::array()}}},
      {"post /api/v1/sources", {{"name", "further"}}},
      {"post /api/v1/destinations",
       {{"name", "further"}, {"type", "WEBHOOK"}, {"config", {{"webhookUrl", "https://y"}}}}},
      {"post /api/v1/connections", {{"source", "site"}, {"destination", "hook"}}},
      {"post /api/v1/dead-letters/redrive", {{"all", true}}},
      {"post /api/v1/transformations", {{"name", "further"}, {"code", "set a 1"}}},
      {"post /api/v1/libraries", {{"name", "further"}, {"code", "x"}}},
      {"post /api/v1/transformations/publish",
       {{"transformations", {"t"}}, {"libraries", {{{"id", "tools"}, {"version", 2}}}}}},
      {"post /api/v1/transformations/test",
       {{"code", "secret k\nlog x"}, {"events", {{{"type", "track"}}}}}},
      {"post /api/v1/transformations/{id}/test",
       {{"code", "throw x"}, {"events", {{{"type", "track"}}}}}},
      {"post /api/v1/transformations/{id}/shadow", {{"version", 2}, {"permille", 5}}},
      {"put /api/v1/credentials/{key}", {{"value", "v"}}},
  };
  const auto found = bodies.find(operation);
  return found == bodies.end() ? "{}" : found->second.dump();
}

std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

/// A workspace in which every operation has something to work on.
void FillWorkspace(Fixture& f) {
  f.Post("/api/v1/libraries?publish=true", {{"name", "tools"}, {"code", "x"}});
  f.Post("/api/v1/transformations?publish=true",
         {{"name", "t"},
          {"code", "import tools"},
          {"libraries", {{{"name", "tools"}, {"version", 1}}}},
          {"limits", {{"cpuMs", 5}}},
          {"description", "d"},
          {"note", "n"}});
  REQUIRE(f.Ask("PUT", "/api/v1/transformations/t?publish=true", R"({"code": "set b 1"})").status ==
          200);
  REQUIRE(f.Ask("PUT", "/api/v1/libraries/tools?publish=true", R"({"code": "y"})").status == 200);
  REQUIRE(f.Ask("PUT", "/api/v1/credentials/k", R"({"value": "value"})").status == 200);
  f.Post("/api/v1/apply", Json::parse(R"({
    "sources": [{"id": "s1", "name": "site", "writeKey": "k1", "category": "webhook", "dedupWindowSeconds": 5,
                 "transformations": ["t", {"name": "t", "version": 1}]}],
    "destinations": [{"id": "d1", "name": "hook", "type": "WEBHOOK", "config": {"webhookUrl": "https://x"}}],
    "connections": [{"id": "c1", "source": "site", "destination": "hook", "transformations": ["t"]}]})"));
  f.AddLetter("l1", "router", "d1");
  f.Count("processor", "d1", accounting::v1::PASSED_ON, 1);
  f.Count("processor", "", accounting::v1::ACCEPTED, 1);
}

}  // namespace

TEST_CASE("every route of the document answers, with what the document says", "[openapi]") {
  Fixture f;
  FillWorkspace(f);
  // Ends with what takes things away.
  std::vector<std::pair<std::string, std::string>> operations;
  for (const char* method : {"get", "post", "put", "delete"}) {
    for (const auto& [path, item] : Document()["paths"].items()) {
      if (item.contains(method)) operations.emplace_back(method, path);
    }
  }
  CHECK(operations.size() > 45);
  std::stable_partition(operations.begin(), operations.end(), [](const auto& one) {
    return one.first != "delete" || one.second.find("shadow") != std::string::npos;
  });
  // A transformation in a chain and a library in use stay; those made by POST go.
  for (const auto& [method, path] : operations) {
    if (path == "/api/v1/tail") continue;  // a stream, see control_plane_test.cc
    std::string target = Replaced(path, "{version}", "1");
    const bool of_scripts = path.find("transformations") != std::string::npos ||
                            path.find("libraries") != std::string::npos;
    const std::string script = path.find("libraries") != std::string::npos ? "tools" : "t";
    if (of_scripts)
      target = Replaced(
          target, "{id}",
          method == "delete" && path.find("shadow") == std::string::npos ? "further" : script);
    if (path.find("/sources/") != std::string::npos) target = Replaced(target, "{id}", "s1");
    if (path.find("/destinations/") != std::string::npos) target = Replaced(target, "{id}", "d1");
    // What was redriven waits for it.
    if (method == "delete" && target == "/api/v1/destinations/d1") {
      target += "?give_up_waiting=true";
    }
    if (path.find("/connections/") != std::string::npos) target = Replaced(target, "{id}", "c1");
    target = Replaced(target, "{key}", "k");
    std::string verb = method;
    std::transform(verb.begin(), verb.end(), verb.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const http::Response response =
        f.Ask(verb, target, verb == "GET" || verb == "DELETE" ? "" : BodyOf(method + " " + path));
    CAPTURE(verb, target, response.body.substr(0, 500));
    CHECK(response.status == 200);
    const Json& operation = Document()["paths"][path][method];
    const Json& schema = operation["responses"]["200"]["content"]["application/json"]["schema"];
    CHECK(Undeclared(Json::parse(response.body), schema, "$") == "");
  }
}

TEST_CASE("refusals are as the document says", "[openapi]") {
  Fixture f;
  const Json& schema = Document()["components"]["schemas"]["Error"];
  const http::Response response =
      f.Ask("POST", "/api/v1/transformations?publish=true", R"({"name": "x", "code": "fault y"})");
  CHECK(response.status == 400);
  CHECK(Undeclared(Json::parse(response.body), schema, "$") == "");
  CHECK(Undeclared(Json{{"error", {{"other", 1}}}}, schema, "$") ==
        "$.error.other is not in the document");
}

TEST_CASE("what is no route of scripts, or not its method, is refused", "[openapi]") {
  struct Case {
    std::string method, target, body;
    int status;
  };
  const auto c = GENERATE(values<Case>({
      {"PATCH", "/api/v1/transformations", "", 405},
      {"POST", "/api/v1/transformations", "", 400},
      {"POST", "/api/v1/transformations", "{", 400},
      {"POST", "/api/v1/transformations", "[]", 400},
      {"POST", "/api/v1/transformations", R"({"name": "x"})", 400},
      {"POST", "/api/v1/transformations", R"({"name": "", "code": "x"})", 400},
      {"POST", "/api/v1/transformations", R"({"name": "a\nb", "code": "x"})", 400},
      {"POST", "/api/v1/transformations", R"({"name": "x", "code": "x", "importName": "x"})", 400},
      {"POST", "/api/v1/transformations",
       R"({"name": "x", "code": "x", "limits": {"memoryBytes": 1}})", 400},
      {"POST", "/api/v1/transformations", R"({"name": "x", "code": "x", "expectedRevision": 77})",
       409},
      {"POST", "/api/v1/transformations", R"({"name": "t", "code": "x"})", 409},
      {"POST", "/api/v1/libraries", R"({"name": "x", "code": "x", "kind": "rules"})", 400},
      {"POST", "/api/v1/libraries", R"({"name": "x", "code": "x", "importName": "No"})", 400},
      {"POST", "/api/v1/libraries", R"({"name": "?", "code": "x"})", 400},
      {"PUT", "/api/v1/transformations/none", "{}", 404},
      {"PATCH", "/api/v1/transformations/t", "{}", 405},
      {"DELETE", "/api/v1/transformations/none", "", 404},
      {"GET", "/api/v1/transformations/none/versions", "", 404},
      {"GET", "/api/v1/transformations/t/versions/7", "", 404},
      {"GET", "/api/v1/transformations/t/versions/", "", 404},
      {"GET", "/api/v1/transformations/t/versions/1/x", "", 404},
      {"POST", "/api/v1/transformations/t/versions", "{}", 405},
      {"GET", "/api/v1/transformations/t/publish", "", 405},
      {"POST", "/api/v1/transformations/t/publish", R"({"version": 9})", 404},
      {"POST", "/api/v1/transformations/t/publish", R"({"version": true})", 400},
      {"POST", "/api/v1/transformations/t/publish", R"({"expectedRevision": "x"})", 400},
      {"POST", "/api/v1/transformations/none/publish", "", 404},
      {"POST", "/api/v1/transformations/publish", "{}", 400},
      {"POST", "/api/v1/transformations/publish", "[]", 400},
      {"POST", "/api/v1/transformations/publish", R"({"transformations": "t"})", 400},
      {"POST", "/api/v1/transformations/publish", R"({"transformations": ["t", "t"]})", 400},
      {"POST", "/api/v1/transformations/publish", R"({"sauces": []})", 400},
      {"POST", "/api/v1/transformations/none/rollback", "", 404},
      {"POST", "/api/v1/transformations/t/rollback", R"({"x": 1})", 400},
      {"PUT", "/api/v1/transformations/t/shadow", "{}", 405},
      {"POST", "/api/v1/transformations/none/shadow", "{}", 404},
      {"DELETE", "/api/v1/transformations/none/shadow", "", 404},
      {"GET", "/api/v1/transformations/none/report", "", 404},
      {"POST", "/api/v1/transformations/t/report", "", 405},
      {"POST", "/api/v1/transformations/none/test", R"({"events": [{}]})", 404},
      {"GET", "/api/v1/transformations/t/nothing", "", 404},
      {"GET", "/api/v1/libraries/l/report", "", 404},
      {"POST", "/api/v1/libraries/l/test", "{}", 404},
      {"POST", "/api/v1/credentials", "{}", 405},
      {"GET", "/api/v1/credentials/k", "", 405},
      {"PUT", "/api/v1/credentials/k", "{}", 400},
      {"PUT", "/api/v1/credentials/k", R"({"value": 7})", 400},
      {"DELETE", "/api/v1/credentials/k", "", 404},
      {"POST", "/api/v1/apply", R"({"transformations": [{"name": "x", "file": "x.js"}]})", 400},
      {"POST", "/api/v1/apply", R"({"transformations": [{"code": "x"}]})", 400},
      {"POST", "/api/v1/apply",
       R"({"libraries": [{"name": "x", "code": "x"}, {"name": "x", "code": "x"}]})", 400},
      {"POST", "/api/v1/apply", R"({"credentials": [{"key": "k", "valueFrom": {"env": "X"}}]})",
       400},
      {"POST", "/api/v1/apply", R"({"credentials": [{"key": "k"}]})", 400},
  }));
  Fixture f;
  f.Post("/api/v1/transformations", {{"name", "t"}, {"code", "set a 1"}});
  f.Post("/api/v1/libraries", {{"name", "l"}, {"code", "x"}});
  const http::Response response = f.Ask(c.method, c.target, c.body);
  CAPTURE(c.method, c.target, c.body, response.body);
  CHECK(response.status == c.status);
  CHECK_FALSE(Json::parse(response.body)["error"]["message"].get<std::string>().empty());
  CHECK(f.control_plane->config().Current()->revision() == 1);
}

}  // namespace millrace::control_plane
