#include "libs/service/metrics_page.h"

#include <dirent.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <utility>

namespace millrace::service {
namespace {

// A page is good for so many times the time that it took: rendering takes a tenth of the thread at
// most.
constexpr int kGoodFor = 10;
constexpr size_t kMaxUnread = 4;
constexpr size_t kMaxWaiting = 1000;

size_t OpenDescriptors() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  size_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count - std::min<size_t>(count, 3);  // ".", ".." and the folder itself
}

}  // namespace

MetricsPage::MetricsPage(telemetry::Metrics& metrics)
    : metrics_(metrics), thread_([this] { Run(); }) {}

MetricsPage::~MetricsPage() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

bool MetricsPage::Wants(const http::Request& request) {
  return request.path == "/metrics" && (request.method == "GET" || request.method == "HEAD");
}

void MetricsPage::Answer(http::Responder responder) {
  {
    MutexLock lock(mu_);
    if (waiting_.size() < kMaxWaiting) {
      waiting_.push_back(std::move(responder));
      changed_.notify_all();
      return;
    }
  }
  responder.Send({.status = 503, .headers = {{"Retry-After", "1"}}, .body = "too many scrapes\n"});
}

void MetricsPage::Watch(const http::Server& server) {
  collector_ = metrics_.OnRender([&server, &metrics = metrics_] {
    const http::ServerStats stats = server.Stats();
    const auto set = [&metrics](const char* name, const char* help, auto value) {
      metrics.GetGauge(name, help).Set(static_cast<double>(value));
    };
    set("millrace_http_connections", "Open connections of clients.", stats.connections);
    set("millrace_http_buffered_bytes", "Request bodies in memory.", stats.buffered_bytes);
    set("millrace_http_refused_connections", "Connections refused so far as there was no room.",
        stats.refused + stats.accept_failures);
    set("millrace_http_closed_for_room_connections",
        "Connections closed so far, as they waited for a request and others needed the room.",
        stats.closed_for_room);
    set("millrace_open_descriptors", "File descriptors in use.", OpenDescriptors());
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    set("millrace_max_descriptors", "File descriptors the process may use.", limit.rlim_cur);
  });
}

void MetricsPage::Forget() {
  collector_.reset();
}

Bytes MetricsPage::Page() {
  using Clock = std::chrono::steady_clock;
  std::erase_if(unread_, [](const auto& page) { return page.expired(); });
  const auto began = Clock::now();
  if (!page_.empty() && (began < good_until_ || unread_.size() >= kMaxUnread)) return page_;
  if (!page_.empty()) unread_.emplace_back(page_.owner());
  page_ = {};  // its memory first, unless somebody still reads it
  page_ = Bytes(metrics_.Render());
  const auto ended = Clock::now();
  good_until_ = ended + kGoodFor * (ended - began);
  return page_;
}

void MetricsPage::Run() {
  while (true) {
    std::vector<http::Responder> asked;
    {
      MutexLock lock(mu_);
      changed_.wait(lock.native(), [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return stopping_ || !waiting_.empty();
      });
      if (stopping_) return;
      asked.swap(waiting_);
    }
    const Bytes page = Page();
    for (const http::Responder& responder : asked) {
      responder.Send({.headers = {{"Content-Type", "text/plain; version=0.0.4"}}, .shared = page});
    }
  }
}

}  // namespace millrace::service
