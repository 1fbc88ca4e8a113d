#include "libs/transformation/fetcher.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/http/client.h"
#include "libs/transformation/fetch_cache.h"
#include "libs/transformation/fetch_queue.h"
#include "libs/transformation/fetch_request.h"

namespace millrace::transformation {
namespace {

using Done = std::function<void(script::HostAnswer)>;
using std::chrono::milliseconds;

constexpr int kMaxRedirects = 5;
constexpr size_t kMaxJobs = 8'192;
constexpr milliseconds kWaitCheck{50};  // how exactly the deadlines of those that wait are kept
constexpr milliseconds kIdle{60'000};

struct Asked {
  std::string arguments;
  std::string scope;
  Done done;
  MonotonicTime at;
};

struct Job {
  FetchRequest request;
  std::string scope;
  MonotonicTime deadline;
  bool waiting = true;  // for its turn
  int redirects = 0;
  std::string cache_key;   // empty: not to be kept
  std::string flight_key;  // those that ask the same meanwhile join; empty: none may
  std::vector<Done> dones;
};

class CurlFetcher final : public Fetcher {
 public:
  CurlFetcher(const FetcherOptions& options, std::unique_ptr<http::Client> client)
      : options_(options),
        client_(std::move(client)),
        queue_(options.max_in_flight_per_host),
        cache_(options.cache_bytes),
        thread_([this] { Loop(); }) {}
  ~CurlFetcher() override;

  void Fetch(std::string_view arguments_json, std::string_view cache_scope, Done done) override;

 private:
  void Loop();
  std::vector<Asked> TakeInbox();
  void Begin(Asked asked);
  bool AnswerFromCache(const FetchRequest& request, Asked* asked, Job* job);
  void StartWaiting();
  void Send(uint64_t id, const std::string& host);
  void OnResponse(uint64_t id, const std::string& host, http::ClientResponse response);
  void Conclude(uint64_t id, script::HostAnswer answer);
  void ExpireWaiting();

  const FetcherOptions options_;
  std::unique_ptr<http::Client> client_;  // the thread's, but for Wake
  FetchQueue queue_;
  FetchCache cache_;
  std::unordered_map<uint64_t, Job> jobs_;
  std::unordered_map<std::string, uint64_t> flights_;  // by flight_key
  uint64_t next_id_ = 1;
  size_t in_flight_ = 0;
  size_t waiting_ = 0;

  Mutex mu_;
  std::vector<Asked> inbox_ ABSL_GUARDED_BY(mu_);
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: it uses all of the above
};

CurlFetcher::~CurlFetcher() {
  stopping_ = true;
  client_->Wake();
  thread_.join();
}

void CurlFetcher::Fetch(std::string_view arguments_json, std::string_view cache_scope, Done done) {
  Asked asked{.arguments = std::string(arguments_json),
              .scope = std::string(cache_scope),
              .done = std::move(done),
              .at = SystemClock().Monotonic()};
  {
    const MutexLock lock(mu_);
    inbox_.push_back(std::move(asked));
  }
  client_->Wake();
}

std::vector<Asked> CurlFetcher::TakeInbox() {
  const MutexLock lock(mu_);
  return std::exchange(inbox_, {});
}

void CurlFetcher::Loop() {
  while (!stopping_) {
    client_->Run(waiting_ > 0 ? kWaitCheck : kIdle);
    for (Asked& asked : TakeInbox()) Begin(std::move(asked));
    if (waiting_ > 0) ExpireWaiting();
    StartWaiting();
  }
  const auto stopped = [] { return FetchFault("fetch: the service is stopping"); };
  for (Asked& asked : TakeInbox()) asked.done(stopped());
  while (!jobs_.empty()) Conclude(jobs_.begin()->first, stopped());
}

void CurlFetcher::Begin(Asked asked) {
  Job job;
  if (auto fault = ParseFetch(asked.arguments, options_.max_request_bytes, &job.request)) {
    asked.done(*std::move(fault));
    return;
  }
  milliseconds timeout = options_.timeout;
  if (job.request.timeout.count() > 0) timeout = std::min(timeout, job.request.timeout);
  job.deadline = asked.at + timeout;
  if (job.request.cache.count() > 0 && AnswerFromCache(job.request, &asked, &job)) return;
  if (jobs_.size() >= kMaxJobs) {
    asked.done(FetchFault("fetch: too many requests are waiting"));
    return;
  }
  job.scope = std::move(asked.scope);
  job.dones.push_back(std::move(asked.done));
  const uint64_t id = next_id_++;
  if (!job.flight_key.empty()) flights_[job.flight_key] = id;
  queue_.Push(job.request.url.Origin(), job.scope, id);
  ++waiting_;
  jobs_.emplace(id, std::move(job));
}

// True when the answer is kept, or on its way to someone else.
bool CurlFetcher::AnswerFromCache(const FetchRequest& request, Asked* asked, Job* job) {
  auto headers = request.headers;
  std::ranges::sort(headers);
  std::string& key = job->cache_key;
  const auto add = [&key](const std::string& part) {
    key += std::to_string(part.size()) + ":" + part;
  };
  add(asked->scope);
  add(request.url.text);
  add(std::to_string(static_cast<int>(request.redirect)));
  for (const auto& [name, value] : headers) {
    add(name);
    add(value);
  }
  if (const auto kept = cache_.Get(key, SystemClock().Monotonic())) {
    asked->done({.text = *kept});
    return true;
  }
  job->flight_key = key + std::to_string(request.timeout.count());
  const auto flight = flights_.find(job->flight_key);
  if (flight == flights_.end()) return false;
  jobs_.at(flight->second).dones.push_back(std::move(asked->done));
  return true;
}

void CurlFetcher::StartWaiting() {
  while (in_flight_ < options_.max_in_flight) {
    auto next = queue_.Pop();
    if (!next) return;
    const auto& [id, host] = *next;
    const auto job = jobs_.find(id);
    if (job == jobs_.end()) {  // its time was over before its turn came
      queue_.Finished(host);
      continue;
    }
    job->second.waiting = false;
    --waiting_;
    ++in_flight_;
    Send(id, host);
  }
}

void CurlFetcher::Send(uint64_t id, const std::string& host) {
  const Job& job = jobs_.at(id);
  const auto left = std::chrono::ceil<milliseconds>(job.deadline - SystemClock().Monotonic());
  http::ClientRequest request{.method = job.request.method,
                              .url = job.request.url.text,
                              .headers = job.request.headers,
                              .body = job.request.body,
                              .timeout = std::max(left, milliseconds(1)),
                              .max_response_bytes = options_.max_response_bytes + 1,
                              .decompress = true};
  request.connect_timeout = std::min(options_.connect_timeout, request.timeout);
  client_->Send(std::move(request), [this, id, host](http::ClientResponse response) {
    OnResponse(id, host, std::move(response));
  });
}

void CurlFetcher::OnResponse(uint64_t id, const std::string& host, http::ClientResponse response) {
  --in_flight_;
  queue_.Finished(host);
  Job& job = jobs_.at(id);
  FetchRequest& request = job.request;
  if (!response.error_class.empty()) {
    Conclude(id, FetchFailure(request, response));
    return;
  }
  if (response.body.size() > options_.max_response_bytes) {
    Conclude(id, FetchFault(fmt::format("content size at {} over limit: {}", request.url.text,
                                        options_.max_response_bytes),
                            "FetchError"));
    return;
  }
  if (request.redirect != FetchRequest::Redirect::kManual) {
    const std::string from = request.url.text;
    if (FollowRedirect(response, &request)) {
      if (request.redirect == FetchRequest::Redirect::kError || ++job.redirects > kMaxRedirects) {
        const char* const why = request.redirect == FetchRequest::Redirect::kError
                                    ? "redirect mode is set to error"
                                    : "too many redirects";
        Conclude(id, FetchFault(fmt::format("request to {} failed, reason: {}", from, why),
                                "FetchError"));
        return;
      }
      if (request.url.scheme != "http" && request.url.scheme != "https") {
        Conclude(id, FetchFault("invalid protocol, only http and https are supported"));
        return;
      }
      job.waiting = true;
      ++waiting_;
      queue_.Push(request.url.Origin(), job.scope, id);
      return;
    }
  }
  const bool keep = (response.status >= 200 && response.status < 300) || response.status == 404;
  std::string answer = FetchAnswer(request, std::move(response));
  if (!job.cache_key.empty() && keep) {
    cache_.Put(job.cache_key, std::make_shared<const std::string>(answer),
               SystemClock().Monotonic() + request.cache);
  }
  Conclude(id, {.text = std::move(answer)});
}

void CurlFetcher::Conclude(uint64_t id, script::HostAnswer answer) {
  auto node = jobs_.extract(id);
  Job& job = node.mapped();
  if (job.waiting) --waiting_;
  if (!job.flight_key.empty()) flights_.erase(job.flight_key);
  for (const Done& done : job.dones) done(answer);
}

void CurlFetcher::ExpireWaiting() {
  const MonotonicTime now = SystemClock().Monotonic();
  std::vector<uint64_t> expired;
  for (const auto& [id, job] : jobs_) {
    if (job.waiting && job.deadline <= now) expired.push_back(id);
  }
  for (const uint64_t id : expired) Conclude(id, FetchTimeout(jobs_.at(id).request));
}

}  // namespace

StatusOr<std::unique_ptr<Fetcher>> Fetcher::Create(const FetcherOptions& options) {
  MR_ASSIGN_OR_RETURN(
      auto client, http::Client::Create({.max_connections = options.max_in_flight,
                                         .max_connections_per_host = options.max_in_flight_per_host,
                                         .allowed_networks = options.allowed_networks}));
  return std::make_unique<CurlFetcher>(options, std::move(client));
}

}  // namespace millrace::transformation
