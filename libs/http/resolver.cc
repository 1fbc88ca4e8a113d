#include "libs/http/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <list>
#include <mutex>
#include <utility>

#include "libs/base/string_map.h"

namespace millrace::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kResolvConf = "/etc/resolv.conf";
constexpr seconds kLookAtConf{5};  // as glibc, changed name servers are noticed without a restart
constexpr size_t kMaxAddresses = 16;

class AresResolver;

struct Name {
  std::string text;
  Resolver::AnswerPtr answer;  // null until the first came
  MonotonicTime fresh_until{};
  MonotonicTime stale_until{};
  bool asking = false;
  std::vector<Resolver::Done> waiting;
  std::list<Name*>::iterator recent;
};

// What c-ares hands back with an answer. Its own, as the name may be gone when it comes.
struct Question {
  AresResolver* resolver = nullptr;
  std::string name;
};

class AresResolver final : public Resolver {
 public:
  AresResolver(ResolverOptions options, Watch watch,
               std::function<void(const std::string&)> forgotten)
      : options_(std::move(options)), watch_(std::move(watch)), forgotten_(std::move(forgotten)) {}
  ~AresResolver() override;

  Status Start();
  AnswerPtr Lookup(const std::string& name, MonotonicTime now, Done done) override;
  void OnSocket(int socket, bool readable, bool writable) override;
  void OnTimer() override;
  milliseconds NextTimer() const override;

 private:
  static void OnSocketState(void* user, ares_socket_t socket, int readable, int writable);
  static void OnAnswer(void* user, int status, int timeouts, ares_addrinfo* found);
  void Ask(const std::string& name);
  void Take(const std::string& name, int status, const ares_addrinfo* found);
  void ReadChangedConf(MonotonicTime now);
  void Bound();
  Name& NameOf(const std::string& name);

  const ResolverOptions options_;
  const Watch watch_;
  const std::function<void(const std::string&)> forgotten_;
  ares_channel channel_ = nullptr;
  bool closing_ = false;  // answers of a channel that is being closed say nothing
  timespec conf_changed_{};
  MonotonicTime look_at_conf_{};
  uint64_t next_version_ = 1;
  size_t asking_ = 0;
  StringMap<std::unique_ptr<Name>> names_;
  std::list<Name*> recent_;  // the one asked for last in front
};

timespec ChangedAt(const char* path) {
  struct stat file {};
  return stat(path, &file) == 0 ? file.st_mtim : timespec{};
}

AresResolver::~AresResolver() {
  closing_ = true;
  if (channel_ != nullptr) ares_destroy(channel_);
}

Status AresResolver::Start() {
  static std::once_flag once;
  std::call_once(once, [] { ares_library_init(ARES_LIB_INIT_ALL); });
  ares_options options{};
  options.timeout = static_cast<int>(options_.try_timeout.count());
  options.tries = options_.tries;
  options.sock_state_cb = &AresResolver::OnSocketState;
  options.sock_state_cb_data = this;
  const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
  conf_changed_ = ChangedAt(kResolvConf);
  int code = ares_init_options(&channel_, &options, mask);
  if (code == ARES_SUCCESS && !options_.servers.empty()) {
    code = ares_set_servers_ports_csv(channel_, options_.servers.c_str());
  }
  if (code != ARES_SUCCESS) {
    return Error(StatusCode::kInternal, "resolver: {}", ares_strerror(code));
  }
  return OkStatus();
}

void AresResolver::OnSocketState(void* user, ares_socket_t socket, int readable, int writable) {
  static_cast<AresResolver*>(user)->watch_(socket, readable != 0, writable != 0);
}

Name& AresResolver::NameOf(const std::string& name) {
  auto& entry = names_[name];
  if (entry == nullptr) {
    entry = std::make_unique<Name>();
    entry->text = name;
    recent_.push_front(entry.get());
  } else {
    recent_.splice(recent_.begin(), recent_, entry->recent);
  }
  entry->recent = recent_.begin();
  return *entry;
}

Resolver::AnswerPtr AresResolver::Lookup(const std::string& name, MonotonicTime now, Done done) {
  {
    Name& entry = NameOf(name);
    if (entry.answer != nullptr && now < entry.fresh_until) return entry.answer;
    // A name in use is asked for again beside the work, not before it.
    const bool serves = entry.answer != nullptr && !entry.answer->addresses.empty() &&
                        now < entry.fresh_until + options_.longest_lifetime;
    if (!serves) entry.waiting.push_back(std::move(done));
    if (!entry.asking) {
      entry.asking = true;
      ++asking_;
      ReadChangedConf(now);
      Ask(name);
    }
    if (serves) return entry.answer;
  }
  Bound();
  return nullptr;
}

void AresResolver::Ask(const std::string& name) {
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &AresResolver::OnAnswer,
                   new Question{this, name});
}

void AresResolver::OnAnswer(void* user, int status, int /*timeouts*/, ares_addrinfo* found) {
  const std::unique_ptr<Question> question(static_cast<Question*>(user));
  const std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> owned(found, [](auto* each) {
    if (each != nullptr) ares_freeaddrinfo(each);
  });
  if (!question->resolver->closing_) question->resolver->Take(question->name, status, found);
}

std::vector<std::string> AddressesOf(const ares_addrinfo* found, seconds* lifetime) {
  std::vector<std::string> addresses;
  if (found == nullptr) return addresses;
  for (const ares_addrinfo_node* node = found->nodes; node != nullptr; node = node->ai_next) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* bytes =
        node->ai_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(node->ai_addr)->sin_addr)
            : &reinterpret_cast<sockaddr_in6*>(node->ai_addr)->sin6_addr;
    if (inet_ntop(node->ai_family, bytes, text.data(), text.size()) == nullptr) continue;
    *lifetime = std::min(*lifetime, seconds(std::max(node->ai_ttl, 0)));
    if (addresses.size() < kMaxAddresses) addresses.emplace_back(text.data());
  }
  return addresses;
}

void AresResolver::Take(const std::string& name, int status, const ares_addrinfo* found) {
  const auto at = names_.find(name);
  if (at == names_.end() || !at->second->asking) return;
  Name& entry = *at->second;
  entry.asking = false;
  --asking_;
  const MonotonicTime now = SystemClock().Monotonic();
  seconds lifetime = options_.longest_lifetime;
  Answer answer;
  if (status == ARES_SUCCESS) answer.addresses = AddressesOf(found, &lifetime);
  if (!answer.addresses.empty()) {
    entry.fresh_until = now + std::max(lifetime, options_.least_lifetime);
    entry.stale_until = entry.fresh_until + options_.stale_lifetime;
  } else {
    entry.fresh_until = now + options_.negative_lifetime;
    answer.error = fmt::format(
        "no address of {}: {}", name,
        ares_strerror(status == ARES_SUCCESS ? static_cast<int>(ARES_ENODATA) : status));
  }
  const bool gone = status == ARES_ENOTFOUND || status == ARES_ENODATA;
  const bool keeps = answer.addresses.empty() && !gone && entry.answer != nullptr &&
                     !entry.answer->addresses.empty() && now < entry.stale_until;
  const bool same = entry.answer != nullptr && !answer.addresses.empty() &&
                    entry.answer->addresses == answer.addresses;
  if (!keeps && !same) {
    answer.version = next_version_++;
    entry.answer = std::make_shared<const Answer>(std::move(answer));
  }
  const AnswerPtr result = entry.answer;
  for (Done& done : std::exchange(entry.waiting, {})) done(result);
}

/// Forgets those not asked for longest that nobody waits for.
void AresResolver::Bound() {
  for (auto at = recent_.end(); names_.size() > options_.max_names && at != recent_.begin();) {
    --at;
    Name* const name = *at;
    if (name->asking) continue;
    at = recent_.erase(at);
    const std::string text = name->text;
    names_.erase(text);
    if (forgotten_) forgotten_(text);
  }
}

void AresResolver::ReadChangedConf(MonotonicTime now) {
  if (!options_.servers.empty() || now < look_at_conf_) return;
  look_at_conf_ = now + kLookAtConf;
  const timespec changed = ChangedAt(kResolvConf);
  if (changed.tv_sec == conf_changed_.tv_sec && changed.tv_nsec == conf_changed_.tv_nsec) return;
  ares_channel before = channel_;
  if (!Start().ok()) {
    channel_ = before;
    return;
  }
  closing_ = true;
  ares_destroy(before);
  closing_ = false;
  // What was asked of the old servers is asked of the new ones; the caller asks for its own.
  std::vector<std::string> again;
  for (auto at = std::next(recent_.begin()); at != recent_.end(); ++at) {
    if ((*at)->asking) again.push_back((*at)->text);
  }
  for (const std::string& name : again) Ask(name);
}

void AresResolver::OnSocket(int socket, bool readable, bool writable) {
  ares_process_fd(channel_, readable ? socket : ARES_SOCKET_BAD,
                  writable ? socket : ARES_SOCKET_BAD);
}

void AresResolver::OnTimer() {
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

milliseconds AresResolver::NextTimer() const {
  if (asking_ == 0) return milliseconds(-1);
  timeval left{};
  if (ares_timeout(channel_, nullptr, &left) == nullptr) return milliseconds(-1);
  return milliseconds(left.tv_sec * 1000 + (left.tv_usec + 999) / 1000);
}

}  // namespace

StatusOr<std::unique_ptr<Resolver>> Resolver::Create(
    const ResolverOptions& options, Watch watch,
    std::function<void(const std::string& name)> forgotten) {
  auto resolver = std::make_unique<AresResolver>(options, std::move(watch), std::move(forgotten));
  MR_RETURN_IF_ERROR(resolver->Start());
  return std::unique_ptr<Resolver>(std::move(resolver));
}

}  // namespace millrace::http
