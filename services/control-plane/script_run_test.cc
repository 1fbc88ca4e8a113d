#include <grpcpp/grpcpp.h>

#include "libs/config/watch_client.h"
#include "millrace/config/v1/transformation_service.grpc.pb.h"
#include "millrace/transformation/v1/report.pb.h"
#include "services/control-plane/api_testing.h"
#include "services/control-plane/secret_mask.h"

namespace millrace::control_plane {
namespace {

const std::string kBase = "/api/v1/transformations";
constexpr std::chrono::milliseconds kLong{20'000};

const Json kEvents = Json::parse(R"([{"type": "track", "messageId": "m1", "userId": "u"},
                                     {"type": "track", "messageId": "m2", "properties": {"a": 1}}])");

void MakeSource(Fixture& f) {
  f.Post("/api/v1/apply",
         Json::parse(R"({"sources": [{"id": "s1", "name": "site", "writeKey": "k1"}]})"));
}

std::string Message(const http::Response& response) {
  return Json::parse(response.body)["error"]["message"];
}

}  // namespace

TEST_CASE("a test run shows outputs, logs, errors, time and memory, and delivers nothing",
          "[test-run]") {
  Fixture f;
  const Json run = f.Post(kBase + "/test", {{"code", "set a 1\nlog hello"}, {"events", kEvents}});
  CHECK(run["events"] == 2);
  CHECK(run["produced"] == 2);
  CHECK(run["cpuUs"] == 14);
  CHECK(run["peakBytes"] == 1000);
  CHECK_FALSE(run.contains("inForceVersionId"));
  const Json outcome = run["outcomes"][1];
  CHECK(outcome["messageId"] == "m2");
  CHECK(outcome["event"] == kEvents[1]);
  CHECK(outcome["outputs"][0]["a"] == "1");
  CHECK(outcome["logs"] == Json::array({"hello"}));

  CHECK(f.Post(kBase + "/test",
               {{"code", "drop"}, {"events", kEvents}})["outcomes"][0]["dropped"] == true);
  const Json failed = f.Post(kBase + "/test", {{"code", "throw broken"}, {"events", kEvents}});
  CHECK(failed["failed"] == 2);
  CHECK(failed["outcomes"][0]["error"]["message"] == "Error: broken");
  CHECK(failed["outcomes"][0]["error"]["class"] == "thrown");
  CHECK(failed["outcomes"][0]["error"]["stack"].get<std::string>().find("transformation:1:1") !=
        std::string::npos);
  // The store of a run is one for all of its events, and gone after it.
  for (int i = 0; i < 2; ++i) {
    const Json counted = f.Post(kBase + "/test", {{"code", "count n"}, {"events", kEvents}});
    CHECK(counted["outcomes"][1]["outputs"][0]["n"] == 2);
  }
}

TEST_CASE("a test run shows the difference to the version in force", "[test-run]") {
  Fixture f;
  f.Post(kBase + "?publish=true", {{"name", "t"}, {"code", "set a 1\nset b 1"}});
  const Json same = f.Post(kBase + "/t/test", {{"events", kEvents}});
  CHECK(same["different"] == 0);
  CHECK(same["outcomes"][0]["same"] == true);
  const Json run = f.Post(kBase + "/t/test", {{"code", "set a 2\nset c 1"}, {"events", kEvents}});
  CHECK(run["different"] == 2);
  CHECK(run["inForceVersionId"] == f.Get(kBase + "/t")["versionId"]);
  CHECK(run["outcomes"][0]["differences"] ==
        Json::parse(R"([{"path": "[0].a", "inForce": "1", "candidate": "2"},
                        {"path": "[0].b", "inForce": "1"}, {"path": "[0].c", "candidate": "1"}])"));
  CHECK(run["outcomes"][0]["inForce"][0]["b"] == "1");
  const Json dropped = f.Post(kBase + "/t/test", {{"code", "drop"}, {"events", kEvents}});
  CHECK(dropped["outcomes"][0]["differences"][0]["path"] == "[0]");
  const Json failed = f.Post(kBase + "/t/test", {{"code", "throw x"}, {"events", kEvents}});
  CHECK(failed["outcomes"][0]["same"] == false);
  // Nothing of it was kept.
  CHECK(f.Get(kBase + "/t/versions").size() == 1);
}

TEST_CASE("a test run takes the last real events of a source", "[test-run]") {
  Fixture f;
  MakeSource(f);
  CHECK(f.Ask("POST", kBase + "/test", R"({"code": "set a 1", "source": "site"})").status == 404);
  for (int i = 0; i < 30; ++i) {
    f.Ingest("s1", Json{{"type", "track"}, {"n", i}}.dump());
    f.Ingest("other", R"({"type": "track"})");
  }
  const Json run =
      f.Post(kBase + "/test", {{"code", "metadata x"}, {"source", "site"}, {"last", 5}});
  REQUIRE(run["outcomes"].size() == 5);
  for (int i = 0; i < 5; ++i) CHECK(run["outcomes"][i]["event"]["n"] == 25 + i);
  CHECK(run["outcomes"][0]["outputs"][0]["metadata"]["sourceName"] == "site");
  CHECK(f.Post(kBase + "/test", {{"code", "drop"}, {"source", "s1"}, {"last", 100}})["events"] ==
        30);
  CHECK(f.Post(kBase + "/test", {{"code", "drop"}, {"source", "s1"}})["events"] == 10);
}

TEST_CASE("test runs refuse what they cannot run", "[test-run]") {
  struct Case {
    std::string body;
    int status;
    std::string message;
  };
  const auto c = GENERATE(values<Case>({
      {"", 400, "code: is missing"},
      {R"({"code": "a"})", 400, "give events"},
      {R"({"code": "a", "events": [1]})", 400, "events[0]: must be an object"},
      {R"({"code": "a", "events": {}})", 400, "events: must be a list"},
      {R"({"code": 1})", 400, "code: must be a text"},
      {R"({"cod": 1})", 400, "unknown key 'cod'"},
      {R"({"code": "a", "source": "none"})", 404, "no source 'none'"},
      {R"({"code": "a", "events": [{}], "destination": "none"})", 404, "no destination 'none'"},
      {R"({"code": "a", "source": "site", "last": 101})", 400, "at most 100"},
      {R"({"code": "a", "source": "site", "last": -1})", 400, "last: must be a whole number"},
      {R"({"code": "a", "kind": "python", "events": [{}]})", 400,
       "kind: must be one of: javascript, rules"},
      {R"({"code": "a", "libraries": ["x"], "events": [{}]})", 400,
       "libraries[0]: there is no library 'x'"},
      {R"({"code": "a", "limits": {"cpuMs": 99999}, "events": [{}]})", 400, "limits.cpuMs"},
      {R"({"code": "fault bad", "events": [{}]})", 400, "line 1, column 1: bad"},
  }));
  CAPTURE(c.body);
  Fixture f;
  MakeSource(f);
  const http::Response response = f.Ask("POST", kBase + "/test", c.body);
  CAPTURE(response.body);
  CHECK(response.status == c.status);
  CHECK(Message(response).find(c.message) != std::string::npos);
}

TEST_CASE("a test run ends when its outputs are too much", "[test-run]") {
  Fixture f;
  const std::string code = "set a " + std::string(300'000, 'x');
  const auto events = [](size_t count) { return Json(count, Json{{"type", "track"}}); };
  CHECK(f.Post(kBase + "/test", {{"code", code}, {"events", events(10)}})["produced"] == 10);
  const http::Response response =
      f.Ask("POST", kBase + "/test", Json{{"code", code}, {"events", events(40)}}.dump());
  CHECK(response.status == 400);
  CHECK_THAT(Message(response), Catch::StartsWith("the first 20 of 40 events made 600") &&
                                    Catch::Contains("give fewer events"));
}

TEST_CASE("a test run that hangs holds up no other call, and ends with the control plane",
          "[test-run]") {
  Fixture f;
  const auto answer = std::make_shared<Answer>();
  f.Ask(answer, "POST", kBase + "/test", Json{{"code", "hang"}, {"events", kEvents}}.dump());
  f.factory.AwaitHanging();
  CHECK(f.Get("/api/v1/sources").empty());
  f.Post(kBase + "?publish=true", {{"name", "t"}, {"code", "set a 1"}});
  SECTION("its end") {
    f.factory.Release();
    CHECK(answer->Wait().status == 200);
  }
  SECTION("the end of all") {
    f.control_plane->Stop();
    CHECK(answer->Wait().status == 503);
    f.factory.Release();  // comes too late for anyone
  }
}

TEST_CASE("a secret is masked in JSON within JSON, and in URLs", "[test-run]") {
  config::v1::Workspace workspace;
  auto* credential = workspace.add_credentials();
  credential->set_secret(true);
  credential->set_value("a \"b\"\n/é");
  const SecretMask mask(workspace);
  const std::string secret = credential->value();
  const Json event = {{"plain", secret},
                      {"json", Json{{"k", secret}}.dump()},
                      {"url", "https://x/?k=a%20%22b%22%0A%2F%C3%A9"},
                      {secret, 1}};
  CHECK(
      Json::parse(mask.Json(event.dump())) ==
      Json{{"plain", "***"}, {"json", R"({"k":"***"})"}, {"url", "https://x/?k=***"}, {"***", 1}});
}

TEST_CASE("no secret comes out of a test run, a report or a check", "[test-run]") {
  Fixture f;
  const std::string value = "s3cr3t-value-98765";
  CHECK(f.Ask("PUT", "/api/v1/credentials/k", Json{{"value", value}}.dump()).status == 200);
  CHECK(f.Ask("PUT", "/api/v1/credentials/number", R"({"value": "12345678"})").status == 200);
  f.Post(kBase + "?publish=true", {{"name", "t"}, {"code", "set a 1\nsecret k"}});
  std::string said =
      f.Ask("POST", kBase + "/t/test", Json{{"code", "secret k"}, {"events", kEvents}}.dump()).body;
  CHECK(said.find("the secret is ***") != std::string::npos);
  said += f.Ask("POST", kBase + "/t/test",
                Json{{"code", "secret k\nthrow x"}, {"events", kEvents}}.dump())
              .body;
  CHECK(said.find("Error: x***") != std::string::npos);
  const Json numbers =
      f.Post(kBase + "/test", {{"code", "log x"}, {"events", {{{"n", 12345678}}}}});
  CHECK(numbers["outcomes"][0]["outputs"][0]["n"] == "***");
  const http::Response refused = f.Ask("POST", kBase + "?publish=true",
                                       Json{{"name", "u"}, {"code", "fault x " + value}}.dump());
  CHECK(refused.status == 400);
  said += refused.body;

  transformation::v1::TransformationReport report;
  auto* version = report.add_versions();
  version->set_transformation_id(f.Get(kBase + "/t")["id"]);
  version->set_version_id("v");
  version->add_logs()->set_text("has " + value);
  auto* sample = version->mutable_shadow()->add_samples();
  sample->add_in_force(Json{{"x", value}}.dump());
  sample->set_shadow_error(value);
  f.Append(event_log::kReportTopic, "", report.SerializeAsString());
  const http::Response reported = f.Ask("GET", kBase + "/t/report");
  CHECK(reported.body.find("has ***") != std::string::npos);
  said += reported.body;
  CHECK(said.find(value) == std::string::npos);
}

TEST_CASE("reports are added up once, over restarts", "[scripts]") {
  Fixture f;
  f.Post(kBase, {{"name", "t"}, {"code", "set a 1"}});
  const Json shown = f.Get(kBase + "/t");
  const auto report = [&](const std::string& version, bool shadow) {
    transformation::v1::TransformationReport made;
    made.set_at_us(1'767'225'600'000'000);
    auto* one = made.add_versions();
    one->set_transformation_id(shown["id"]);
    one->set_version_id(version);
    one->set_events(10);
    one->set_produced(8);
    one->set_dropped(1);
    one->set_failed(1);
    one->set_cpu_us(500);
    one->add_logs()->set_text("said");
    if (shadow) {
      one->mutable_shadow()->set_compared(10);
      one->mutable_shadow()->set_equal(9);
      one->mutable_shadow()->set_different(1);
      auto* sample = one->mutable_shadow()->add_samples();
      sample->set_event(R"({"a": 0})");
      sample->add_in_force(R"({"a": 1})");
      sample->add_shadow(R"({"a": 2})");
    }
    f.Append(event_log::kReportTopic, "", made.SerializeAsString());
  };
  for (int i = 0; i < 3; ++i) report(shown["versionId"], false);
  report("candidate", true);
  CHECK(f.Get(kBase + "/t/report")["name"] == "t");
  f.Open();
  const Json told = f.Get(kBase + "/t/report");
  CAPTURE(told.dump(1));
  REQUIRE(told["versions"].size() == 2);
  const Json& in_force =
      told["versions"][0]["shadow"] == true ? told["versions"][1] : told["versions"][0];
  CHECK(in_force["number"] == 1);
  CHECK(in_force["events"] == 30);
  CHECK(in_force["produced"] == 24);
  CHECK(in_force["cpuUs"] == 1500);
  CHECK(told["logs"].size() == 4);
  REQUIRE(told["shadows"].size() == 1);
  CHECK(told["shadows"][0]["different"] == 1);
  CHECK(told["shadows"][0]["samples"][0]["differences"][0]["path"] == "[0].a");
  for (int i = 0; i < 100; ++i) report("candidate", true);
  f.Get(kBase + "/t/report");
  CHECK(f.Get(kBase + "/t/report")["shadows"][0]["samples"].size() <= 20);
  // With the transformation its reports go.
  CHECK(f.Ask("DELETE", kBase + "/t").status == 200);
  CHECK(f.Ask("GET", kBase + "/t/report").status == 404);
}

TEST_CASE("over gRPC the same, for callers with the API token", "[scripts][grpc]") {
  using namespace config::v1;
  Fixture f;
  f.grpc_address = "127.0.0.1:0";
  f.Open();
  const auto stub = TransformationService::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(f.control_plane->grpc_port()),
                          grpc::InsecureChannelCredentials()));
  const auto call = [&](auto method, const auto& request, auto* response,
                        const std::string& token) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    return (stub.get()->*method)(&context, request, response);
  };
  SaveScriptRequest save;
  save.set_name("t");
  save.set_code("set a 1");
  save.set_publish(true);
  ScriptResponse saved;
  const std::string service_token = *ReadFile(f.folder.path() + "/service-token");
  for (const std::string& token :
       {std::string(), std::string("wrong"), service_token.substr(0, service_token.size() - 1)}) {
    CHECK(call(&TransformationService::Stub::CreateScript, save, &saved, token).error_code() ==
          grpc::StatusCode::UNAUTHENTICATED);
  }
  REQUIRE(call(&TransformationService::Stub::CreateScript, save, &saved, f.token).ok());
  CHECK(saved.script().published().number() == 1);
  CHECK(f.Get(kBase + "/t")["id"] == saved.script().id());
  // The faults travel along.
  save.set_name("u");
  save.set_code("fault wrong");
  const grpc::Status refused =
      call(&TransformationService::Stub::CreateScript, save, &saved, f.token);
  CHECK(refused.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CodeFaults faults;
  REQUIRE(faults.ParseFromString(refused.error_details()));
  CHECK(faults.faults(0).message() == "wrong");
  ScriptKey key;
  key.set_id("none");
  Script none;
  CHECK(call(&TransformationService::Stub::GetScript, key, &none, f.token).error_code() ==
        grpc::StatusCode::NOT_FOUND);
  TestRequest test;
  test.set_id("t");
  test.add_events_json(R"({"type": "track"})");
  TestResponse tested;
  REQUIRE(call(&TransformationService::Stub::Test, test, &tested, f.token).ok());
  CHECK(tested.produced() == 1);
  SetCredentialRequest credential;
  credential.set_key("k");
  credential.set_value("value");
  RevisionResponse revision;
  REQUIRE(call(&TransformationService::Stub::SetCredential, credential, &revision, f.token).ok());
  ListCredentialsResponse listed;
  REQUIRE(call(&TransformationService::Stub::ListCredentials, ListCredentialsRequest(), &listed,
               f.token)
              .ok());
  CHECK(listed.credentials(0).value() == "***");
}

TEST_CASE("a publish reaches a watcher within a second, and its disk holds all that scripts need",
          "[scripts][grpc]") {
  Fixture f;
  f.grpc_address = "127.0.0.1:0";
  f.Open();
  const std::string cache = f.folder.path() + "/watcher";
  std::string token = *ReadFile(f.folder.path() + "/service-token");
  token.pop_back();
  const auto options = [&] {
    return config::WatchOptions{
        .address = "127.0.0.1:" + std::to_string(f.control_plane->grpc_port()),
        .token = token,
        .cache_dir = cache,
        .service = "processor",
        .instance = "p0"};
  };
  {
    const auto client = config::WatchClient::Start(options());
    REQUIRE(client.ok());
    REQUIRE((*client)->WaitForSnapshot(kLong).ok());
    f.Post("/api/v1/libraries?publish=true", {{"name", "tools"}, {"code", "one"}});
    CHECK(f.Ask("PUT", "/api/v1/credentials/k", R"({"value": "v"})").status == 200);
    Mutex mu;
    std::condition_variable changed;
    const auto start = std::chrono::steady_clock::now();
    auto end = start;
    bool came = false;
    const auto watch = (*client)->Subscribe([&](const config::WorkspacePtr& workspace) {
      MutexLock lock(mu);
      if (workspace->transformations().empty()) return;
      end = std::chrono::steady_clock::now();
      came = true;
      changed.notify_all();
    });
    f.Post(kBase + "?publish=true", {{"name", "t"}, {"code", "import tools"}});
    MutexLock lock(mu);
    while (!came) {
      REQUIRE(changed.wait_until(lock.native(), start + kLong) == std::cv_status::no_timeout);
    }
    CHECK(end - start < std::chrono::seconds(1));
  }
  const auto perms = std::filesystem::status(cache + "/workspace.bin").permissions();
  CHECK((perms & std::filesystem::perms::all) ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  auto away = options();
  f.control_plane.reset();
  const auto client = config::WatchClient::Start(away);
  REQUIRE(client.ok());
  const auto held = (*client)->Current();
  REQUIRE(held != nullptr);
  CHECK(held->transformations(0).published().code() == "import tools");
  CHECK(held->library_versions(0).code() == "one");
  CHECK(held->credentials(0).value() == "v");
}

}  // namespace millrace::control_plane
