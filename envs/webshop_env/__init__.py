"""WebShop as a pip package: the shop of princeton-nlp/WebShop, text for text, without server, JVM or model downloads.

shop = load_shop("data/webshop")          # the official files, or generate_shop(200, seed=0)
env = WebShopEnv(shop, mode="text")
print(env.reset(0))                       # goal 0
print(env.step("search[wool hat]").observation)
"""

from webshop_env.catalogue import Catalogue, LoadReport, Product
from webshop_env.engine import Step, WebShopEnv
from webshop_env.generate import generate_shop
from webshop_env.goals import Goal, Goals
from webshop_env.policies import POLICIES, Demonstration, Evaluation, demonstrate, evaluate, expert_actions
from webshop_env.records import ShopDataError
from webshop_env.reward import Reward, reward
from webshop_env.search import Retriever, Search
from webshop_env.shop import Shop, load_shop
from webshop_env.splits import GoalSplit, split_goals

__all__ = [
    "POLICIES",
    "Catalogue",
    "Demonstration",
    "Evaluation",
    "Goal",
    "GoalSplit",
    "Goals",
    "LoadReport",
    "Product",
    "Retriever",
    "Reward",
    "Search",
    "Shop",
    "ShopDataError",
    "Step",
    "WebShopEnv",
    "demonstrate",
    "evaluate",
    "expert_actions",
    "generate_shop",
    "load_shop",
    "reward",
    "split_goals",
]
